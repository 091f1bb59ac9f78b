// Teams, keys, logins, and whom a key speaks for.
#include <algorithm>

#include "gateway/admin/admin_fields.h"
#include "gateway/admin/records.h"
#include "gateway/admin/routes.h"
#include "gateway/common/json_out.h"

namespace penstock::gateway {
namespace {

void AppendTeam(const Team& team, JsonWriter& writer) {
  writer.Object()
      .Field("id", team.id)
      .Field("name", team.name)
      .Field("created", team.created / kSecond)
      .FieldBool("external", team.external)
      .Field("removed", team.removed / kSecond)
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

// Changes are answered when they are durable, so their handlers take the call away.
Done<Result<CreatedKey>> SendCreated(Call& call) {
  return [call = std::make_shared<Call>(std::move(call))](const Result<CreatedKey>& created) {
    if (!created) return call->SendError(created.error());
    std::string out;
    JsonWriter writer(out);
    AppendKey(created->key, writer);
    writer.Field("secret", created->secret).EndObject();
    call->SendJson(std::move(out), 201);
  };
}

Done<Result<Team>> SendTeam(Call& call, int status) {
  return [call = std::make_shared<Call>(std::move(call)), status](const Result<Team>& team) {
    if (!team) return call->SendError(team.error());
    std::string out;
    JsonWriter writer(out);
    AppendTeam(*team, writer);
    call->SendJson(std::move(out), status);
  };
}

// Whether the caller may get the secret of such a key: it must not allow more than the caller's own key.
Status MayGive(const Accounts& accounts, const Call& call, std::string_view team, Role role,
               const std::vector<std::string>& models) {
  const Principal& maker = call.principal;
  if (!MayMake(maker.role, role)) {
    return Fail(Reason::kNotYourRole, "a key of role {} makes no keys of role {}", RoleName(maker.role),
                RoleName(role));
  }
  if (!team.empty()) PENSTOCK_TRY(FindTeam(accounts, call.scope, team));
  if (maker.models.empty()) return {};
  const auto beyond =
      std::ranges::find_if_not(models, [&](const auto& model) { return maker.MayUse(model); });
  if (!models.empty() && beyond == models.end()) return {};
  return Fail(Reason::kModelNotAllowed, "your key may use {} only, so the new one cannot have {}",
              fmt::join(maker.models, ", "), models.empty() ? "all models" : *beyond);
}

void CreateTeam(Accounts& accounts, Call& call) {
  const auto body = ReadBody(call);
  if (!body) return;
  Fields fields(body->get_object());
  const auto name = fields.String("name");
  if (!name) fields.Fault("name", "'name' is missing");
  if (!Accept(call, fields)) return;
  accounts.CreateTeam(*name, SendTeam(call, 201));
}

void SetTeam(Accounts& accounts, Call& call) {
  const auto body = ReadBody(call);
  if (!body) return;
  Fields fields(body->get_object());
  const auto external = fields.Bool("external");
  const auto name = fields.String("name");
  if (!external && !name) fields.Fault("external", "'external' or 'name' is missing");
  if (external && name) fields.Fault("name", "change 'name' and 'external' in two requests");
  if (!Accept(call, fields)) return;
  const auto id = FindTeam(accounts, call.scope, call.argument);
  if (!id) return call.SendError(id.error());
  if (name) return accounts.RenameTeam(*id, *name, SendTeam(call, 200));
  accounts.SetExternal(*id, *external, SendTeam(call, 200));
}

void RemoveTeam(Accounts& accounts, Call& call) {
  const auto id = FindTeam(accounts, call.scope, call.argument);
  if (!id) return call.SendError(id.error());
  accounts.RemoveTeam(*id, SendTeam(call, 200));
}

void SendOneTeam(Accounts& accounts, Call& call) {
  const auto id = FindTeam(accounts, call.scope, call.argument);
  if (!id) return call.SendError(id.error());
  std::string out;
  JsonWriter writer(out);
  const std::vector<Team> teams = accounts.Teams();
  AppendTeam(*std::ranges::find(teams, *id, &Team::id), writer);
  call.SendJson(std::move(out));
}

void SendTeams(Accounts& accounts, Call& call) {
  std::string out;
  JsonWriter writer(out);
  writer.Object().Key("data").Array();
  for (const Team& team : accounts.Teams()) {
    if (team.removed == 0 && call.scope.CoversTeam(team.id)) AppendTeam(team, writer);
  }
  writer.EndArray().EndObject();
  call.SendJson(std::move(out));
}

void CreateKey(Accounts& accounts, Call& call) {
  const auto body = ReadBody(call);
  if (!body) return;
  Fields fields(body->get_object());
  const NewKey key = ReadNewKey(fields, call.principal);
  if (!Accept(call, fields)) return;
  if (const Status may = MayGive(accounts, call, key.team, key.role, key.models); !may) {
    return call.SendError(may.error());
  }
  accounts.CreateKey(key, SendCreated(call));
}

void SendKeys(Accounts& accounts, Call& call) {
  const std::string name = QueryValue(call.request, "team");
  std::optional<TeamId> only;
  if (!name.empty()) {
    const auto team = FindTeam(accounts, call.scope, name);
    if (!team) return call.SendError(team.error());
    only = *team;
  }
  std::string out;
  JsonWriter writer(out);
  writer.Object().Key("data").Array();
  for (const Key& key : accounts.Keys(only)) {
    if (!call.scope.Covers(key.team, key.seat)) continue;
    AppendKey(key, writer);
    writer.EndObject();
  }
  writer.EndArray().EndObject();
  call.SendJson(std::move(out));
}

void SendRenewed(const Accounts& accounts, const Key& old, const Call& call,
                 const Result<CreatedKey>& renewed) {
  if (!renewed) return call.SendError(renewed.error());
  const Key ending = accounts.GetKey(old.id).value_or(old);
  std::string out;
  JsonWriter writer(out);
  AppendKey(renewed->key, writer);
  writer.Field("secret", renewed->secret).Key("old").Object().Field("id", ending.id);
  writer.Field("prefix", ending.prefix).Field("expires", ending.expires / kSecond).EndObject().EndObject();
  call.SendJson(std::move(out));
}

void RotateKey(Accounts& accounts, Call& call) {
  const auto body = ReadBody(call);
  if (!body) return;
  Fields fields(body->get_object());
  const int64_t overlap = fields.Integer("overlap", 0, 366 * 24 * 3600).value_or(0);
  if (!Accept(call, fields)) return;
  const auto old = accounts.FindKey(call.argument, call.scope);
  if (!old) return call.SendError(old.error());
  const Status may = MayGive(accounts, call, old->team == 0 ? "" : old->team_name, old->role, old->models);
  if (!may) return call.SendError(may.error());
  accounts.RotateKey(old->id, overlap * kSecond,
                     [&accounts, old = *old, call = std::make_shared<Call>(std::move(call))](
                         const Result<CreatedKey>& renewed) { SendRenewed(accounts, old, *call, renewed); });
}

void CreateLogin(Accounts& accounts, Call& call) {
  const auto body = ReadBody(call);
  if (!body) return;
  Fields fields(body->get_object());
  const std::string name(fields.String("name").value_or("login"));
  if (!Accept(call, fields)) return;
  const KeyId shown = call.principal.shown;
  accounts.CreateLogin(shown, name, SendCreated(call));
}

void RevokeKey(Accounts& accounts, Call& call) {
  const auto key = accounts.FindKey(call.argument, call.scope);
  if (!key) return call.SendError(key.error());
  accounts.RevokeKey(key->id,
                     [id = key->id, call = std::make_shared<Call>(std::move(call))](const Status& revoked) {
                       if (!revoked) return call->SendError(revoked.error());
                       call->SendJson(fmt::format(R"({{"id":{},"revoked":true}})", id));
                     });
}

// Whom a key speaks for, and what it may do: what pages and `penstock login` ask first.
void SendSeat(const Accounts& accounts, const Call& call) {
  const Principal& who = call.principal;
  const auto key = accounts.GetKey(who.shown);
  if (!key) return call.SendError(key.error());
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

}  // namespace

std::vector<Route> KeyRoutes(Accounts& accounts) {
  using enum Capability;
  const auto with = [&accounts](void (*handle)(Accounts&, Call&)) {
    return [&accounts, handle](Call& call) { handle(accounts, call); };
  };
  return {
      {Method::kGet, "/v1/seat", kReadSeat, [&accounts](Call& call) { SendSeat(accounts, call); }},
      {Method::kPost, "/v1/logins", kCreateLogins, with(CreateLogin)},
      {Method::kPost, "/admin/v1/teams", kCreateTeams, with(CreateTeam)},
      {Method::kGet, "/admin/v1/teams", kReadTeams, with(SendTeams)},
      {Method::kGet, "/admin/v1/teams/{}", kReadTeams, with(SendOneTeam)},
      {Method::kPost, "/admin/v1/teams/{}", kCreateTeams, with(SetTeam)},
      {Method::kDelete, "/admin/v1/teams/{}", kCreateTeams, with(RemoveTeam)},
      {Method::kPost, "/admin/v1/keys", kManageKeys, with(CreateKey)},
      {Method::kGet, "/admin/v1/keys", kReadKeys, with(SendKeys)},
      {Method::kPost, "/admin/v1/keys/{}/rotate", kManageKeys, with(RotateKey)},
      {Method::kDelete, "/admin/v1/keys/{}", kRevokeKeys, with(RevokeKey)},
  };
}

}  // namespace penstock::gateway
