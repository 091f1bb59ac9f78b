#include "gateway/admin.h"

#include "gateway/admin_fields.h"
#include "gateway/api.h"
#include "gateway/json_out.h"

namespace penstock::gateway {
namespace {

void AppendTeam(const Team& team, JsonWriter& writer) {
  writer.Object()
      .Field("id", team.id)
      .Field("name", team.name)
      .Field("created", team.created / kSecond)
      .EndObject();
}

// The object is left open.
void AppendKey(const Key& key, JsonWriter& writer) {
  writer.Object().Field("id", key.id).Field("team", key.team_name).Field("name", key.name);
  writer.Field("prefix", key.prefix).Field("role", RoleName(key.role)).Key("models").Array();
  for (const std::string& model : key.models) writer.String(model);
  writer.EndArray().Field("created", key.created / kSecond);
  writer.Field("expires", key.expires / kSecond).Field("revoked", key.revoked / kSecond);
}

void SendCreated(const Call& call, const Result<CreatedKey>& created, int status) {
  if (!created) return call.SendError(ToApiError(created.error()));
  std::string out;
  JsonWriter writer(out);
  AppendKey(created->key, writer);
  writer.Field("secret", created->secret).EndObject();
  call.SendJson(std::move(out), status);
}

// The body as an object; an empty body is an empty one. Answers the call and returns nothing on an error.
std::optional<json::value> ReadBody(const Call& call) {
  auto body = ParseJsonObject(call.request.body.empty() ? "{}" : call.request.body);
  if (body) return *std::move(body);
  call.SendError(body.error());
  return std::nullopt;
}

// Admin requests are checked strictly: an unknown field is a mistake, not a dialect.
bool Accept(const Call& call, Fields& fields) {
  if (const auto unknown = fields.Ignored(); !unknown.empty()) {
    fields.Fault(unknown.front(), fmt::format("'{}' is not a field of this request", unknown.front()));
  }
  if (fields.fault()) call.SendError(*fields.fault());
  return !fields.fault();
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

void HandleTeams(Call& call) {
  std::string out;
  JsonWriter writer(out);
  writer.Object().Key("data").Array();
  for (const Team& team : call.service.accounts.Teams()) AppendTeam(team, writer);
  writer.EndArray().EndObject();
  call.SendJson(std::move(out));
}

void HandleCreateKey(Call& call) {
  const auto body = ReadBody(call);
  if (!body) return;
  Fields fields(body->get_object());
  const NewKey key = ReadNewKey(fields);
  if (!Accept(call, fields)) return;
  SendCreated(call, call.service.accounts.CreateKey(key), 201);
}

void HandleKeys(Call& call) {
  const std::string name = QueryValue(call.request, "team");
  std::optional<TeamId> id;
  for (const Team& team : call.service.accounts.Teams()) {
    if (team.name == name) id = team.id;
  }
  if (!name.empty() && !id) {
    return call.SendError(ToApiError({Code::kNotFound, fmt::format("there is no team '{}'", name)}));
  }
  std::string out;
  JsonWriter writer(out);
  writer.Object().Key("data").Array();
  for (const Key& key : call.service.accounts.Keys(id)) {
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
  const auto key = call.service.accounts.FindKey(call.argument);
  if (!key) return call.SendError(ToApiError(key.error()));
  SendCreated(call, call.service.accounts.RotateKey(*key, overlap * kSecond), 200);
}

void HandleRevokeKey(Call& call) {
  const auto key = call.service.accounts.FindKey(call.argument);
  if (!key) return call.SendError(ToApiError(key.error()));
  const Status revoked = call.service.accounts.RevokeKey(*key);
  if (!revoked) return call.SendError(ToApiError(revoked.error()));
  call.SendJson(fmt::format(R"({{"id":{},"revoked":true}})", *key));
}

}  // namespace penstock::gateway
