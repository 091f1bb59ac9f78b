#include "gateway/admin/admin.h"

#include <algorithm>

#include "gateway/admin/admin_fields.h"
#include "gateway/api.h"
#include "gateway/common/json_out.h"
#include "gateway/admin/records.h"

namespace penstock::gateway {
namespace {

void AppendTeam(const Team& team, JsonWriter& writer) {
  writer.Object()
      .Field("id", team.id)
      .Field("name", team.name)
      .Field("created", team.created / kSecond)
      .FieldBool("external", team.external)
      .EndObject();
}

// The object is left open.
void AppendKey(const Key& key, JsonWriter& writer) {
  writer.Object().Field("id", key.id).Field("team", key.team_name).Field("name", key.name);
  writer.Field("prefix", key.prefix).Field("role", RoleName(key.role)).Key("models").Array();
  for (const std::string& model : key.models) writer.String(model);
  writer.EndArray().Field("created", key.created / kSecond);
  writer.Field("expires", key.expires / kSecond).Field("revoked", key.revoked / kSecond);
  writer.Field("parent", key.parent).FieldBool("login", key.login);
}

void SendCreated(const Call& call, const Result<CreatedKey>& created, int status) {
  if (!created) return call.SendError(ToApiError(created.error()));
  std::string out;
  JsonWriter writer(out);
  AppendKey(created->key, writer);
  writer.Field("secret", created->secret).EndObject();
  call.SendJson(std::move(out), status);
}

// Whether the caller may be given the secret of such a key: nobody gets one that may more than their own.
Status MayGive(const Call& call, std::string_view team, Role role, const std::vector<std::string>& models) {
  const Principal& maker = call.principal;
  if (!MayMake(maker.role, role)) {
    return Fail(Reason::kNotYourRole, "a key of role {} makes no keys of role {}", RoleName(maker.role),
                RoleName(role));
  }
  if (!team.empty()) PENSTOCK_TRY(FindTeam(call, team));
  if (maker.models.empty()) return {};
  const auto beyond =
      std::ranges::find_if_not(models, [&](const auto& model) { return maker.MayUse(model); });
  if (!models.empty() && beyond == models.end()) return {};
  return Fail(Reason::kModelNotAllowed, "your key may use {} only, so the new one cannot have {}",
              fmt::join(maker.models, ", "), models.empty() ? "all models" : *beyond);
}

}  // namespace

void HandleCreateTeam(Call& call) {
  const auto body = ReadBody(call);
  if (!body) return;
  Fields fields(body->get_object());
  const auto name = fields.String("name");
  if (!name) fields.Fault("name", "'name' is missing");
  if (!Accept(call, fields)) return;
  const auto team = call.service.accounts.CreateTeam(*name);
  if (!team) return call.SendError(ToApiError(team.error()));
  std::string out;
  JsonWriter writer(out);
  AppendTeam(*team, writer);
  call.SendJson(std::move(out), 201);
}

void HandleSetTeam(Call& call) {
  const auto body = ReadBody(call);
  if (!body) return;
  Fields fields(body->get_object());
  const auto external = fields.Bool("external");
  if (!external) fields.Fault("external", "'external' is missing");
  if (!Accept(call, fields)) return;
  const auto id = FindTeam(call, call.argument);
  if (!id) return call.SendError(ToApiError(id.error()));
  const auto team = call.service.accounts.SetExternal(*id, *external);
  if (!team) return call.SendError(ToApiError(team.error()));
  std::string out;
  JsonWriter writer(out);
  AppendTeam(*team, writer);
  call.SendJson(std::move(out));
}

void HandleTeams(Call& call) {
  std::string out;
  JsonWriter writer(out);
  writer.Object().Key("data").Array();
  for (const Team& team : call.service.accounts.Teams()) {
    if (call.scope.CoversTeam(team.id)) AppendTeam(team, writer);
  }
  writer.EndArray().EndObject();
  call.SendJson(std::move(out));
}

void HandleCreateKey(Call& call) {
  const auto body = ReadBody(call);
  if (!body) return;
  Fields fields(body->get_object());
  const NewKey key = ReadNewKey(fields, call.principal);
  if (!Accept(call, fields)) return;
  if (const Status may = MayGive(call, key.team, key.role, key.models); !may) {
    return call.SendError(ToApiError(may.error()));
  }
  SendCreated(call, call.service.accounts.CreateKey(key), 201);
}

void HandleKeys(Call& call) {
  const std::string name = QueryValue(call.request, "team");
  std::optional<TeamId> only;
  if (!name.empty()) {
    const auto team = FindTeam(call, name);
    if (!team) return call.SendError(ToApiError(team.error()));
    only = *team;
  }
  std::string out;
  JsonWriter writer(out);
  writer.Object().Key("data").Array();
  for (const Key& key : call.service.accounts.Keys(only)) {
    if (!call.scope.Covers(key.team, key.seat)) continue;
    AppendKey(key, writer);
    writer.EndObject();
  }
  writer.EndArray().EndObject();
  call.SendJson(std::move(out));
}

void HandleRotateKey(Call& call) {
  const auto body = ReadBody(call);
  if (!body) return;
  Fields fields(body->get_object());
  const int64_t overlap = fields.Integer("overlap", 0, 366 * 24 * 3600).value_or(0);
  if (!Accept(call, fields)) return;
  Accounts& accounts = call.service.accounts;
  const auto old = accounts.FindKey(call.argument, call.scope);
  if (!old) return call.SendError(ToApiError(old.error()));
  const Status may = MayGive(call, old->team == 0 ? "" : old->team_name, old->role, old->models);
  if (!may) return call.SendError(ToApiError(may.error()));
  const auto renewed = accounts.RotateKey(old->id, overlap * kSecond);
  if (!renewed) return call.SendError(ToApiError(renewed.error()));
  const Key ending = accounts.GetKey(old->id).value_or(*old);
  std::string out;
  JsonWriter writer(out);
  AppendKey(renewed->key, writer);
  writer.Field("secret", renewed->secret).Key("old").Object().Field("id", ending.id);
  writer.Field("prefix", ending.prefix).Field("expires", ending.expires / kSecond).EndObject().EndObject();
  call.SendJson(std::move(out));
}

void HandleCreateLogin(Call& call) {
  const auto body = ReadBody(call);
  if (!body) return;
  Fields fields(body->get_object());
  const std::string name(fields.String("name").value_or("login"));
  if (!Accept(call, fields)) return;
  SendCreated(call, call.service.accounts.CreateLogin(call.principal.shown, name), 201);
}

void HandleRevokeKey(Call& call) {
  const auto key = call.service.accounts.FindKey(call.argument, call.scope);
  if (!key) return call.SendError(ToApiError(key.error()));
  const Status revoked = call.service.accounts.RevokeKey(key->id);
  if (!revoked) return call.SendError(ToApiError(revoked.error()));
  call.SendJson(fmt::format(R"({{"id":{},"revoked":true}})", key->id));
}

}  // namespace penstock::gateway
