// A seat: who a key speaks for, and what that one may do. What pages and `penstock login` ask first.
#include "gateway/api.h"
#include "gateway/common/json_out.h"

namespace penstock::gateway {

void HandleSeat(Call& call) {
  const Principal& who = call.principal;
  const auto key = call.service.accounts.GetKey(who.shown);
  if (!key) return call.SendError(ToApiError(key.error()));
  std::string out;
  JsonWriter writer(out);
  writer.Object().Field("object", "seat").Field("role", RoleName(who.role));
  writer.Field("team", who.team == 0 ? std::string_view() : who.team_name);
  writer.Key("key").Object().Field("id", key->id).Field("name", key->name).Field("prefix", key->prefix);
  writer.Field("expires", key->expires / kSecond).FieldBool("login", key->login).EndObject();
  writer.Key("models").Array();
  for (const std::string& model : who.models) writer.String(model);
  writer.EndArray().Key("may").Array();
  for (const Capability capability : Capabilities()) {
    if (May(who.role, capability)) writer.String(CapabilityName(capability));
  }
  writer.EndArray().EndObject();
  call.SendJson(std::move(out));
}

}  // namespace penstock::gateway
