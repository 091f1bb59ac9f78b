#include "gateway/admin/admin_fields.h"

#include "teams/roles.h"

namespace penstock::gateway {

std::optional<json::value> ReadBody(const Call& call) {
  constexpr size_t kMost = 64 << 10;  // is parsed on the io thread, and no more than this is ever needed
  if (call.request.body.size() > kMost) {
    call.SendError(Error{Code::kTooLarge,
                         fmt::format("the body is larger than {} bytes, the most for this route", kMost),
                         Reason::kBodyTooLarge});
    return std::nullopt;
  }
  auto body = ParseJsonObject(call.request.body.empty() ? "{}" : call.request.body);
  if (body) return *std::move(body);
  call.SendError(body.error());
  return std::nullopt;
}

bool Accept(const Call& call, Fields& fields) {
  if (const auto unknown = fields.Ignored(); !unknown.empty()) {
    fields.Fault(unknown.front(), fmt::format("'{}' is not a field of this request", unknown.front()));
  }
  if (fields.fault()) call.SendError(*fields.fault());
  return !fields.fault();
}

NewKey ReadNewKey(Fields& fields, const Principal& maker) {
  NewKey key{};
  key.team = fields.String("team").value_or("");
  key.name = fields.String("name").value_or("");
  const std::string_view name = fields.String("role").value_or("developer");
  const auto role = RoleOf(name);
  if (!role) {
    fields.Fault("role", fmt::format("'{}' is no role: developer, team_lead, finance or operator", name));
  }
  key.role = role.value_or(Role::kDeveloper);
  if (key.team.empty() && IsOfATeam(key.role)) {
    key.team = maker.team == 0 ? "" : maker.team_name;
    if (key.team.empty()) fields.Fault("team", "'team' is missing");
  }
  if (const json::array* const models = fields.Array("models")) {
    for (const json::value& model : *models) {
      if (!model.is_string()) {
        fields.Fault("models", "'models' must be an array of model names");
        break;
      }
      key.models.emplace_back(model.get_string());
    }
  }
  if (key.models.empty()) key.models = maker.models;
  key.expires = fields.Integer("expires", 0, int64_t{1} << 33).value_or(0) * kSecond;
  return key;
}

}  // namespace penstock::gateway
