#include "teams/roles.h"

#include <algorithm>
#include <array>

#include "base/check.h"

namespace penstock {
namespace {

constexpr std::array kRoles = {Role::kOperator, Role::kFinance, Role::kTeamLead, Role::kDeveloper};

struct Row {
  Capability capability;
  std::string_view name;
  Reach operator_, finance, team_lead, developer;
};
using enum Reach;
constexpr std::array kTable = {
    //                                                      operator finance team_lead developer
    Row{Capability::kReadSeat, "seat.read", /*          */ kOwn, kOwn, kOwn, kOwn},
    Row{Capability::kCreateLogins, "logins.create", /*  */ kOwn, kOwn, kOwn, kOwn},
    Row{Capability::kUseModels, "models.use", /*        */ kOwn, kNone, kOwn, kOwn},
    Row{Capability::kReadUsage, "usage.read", /*        */ kAll, kAll, kSubtree, kOwn},
    Row{Capability::kReadRequests, "requests.read", /*  */ kAll, kAll, kSubtree, kOwn},
    Row{Capability::kReadLive, "live.read", /*          */ kAll, kAll, kSubtree, kOwn},
    Row{Capability::kReadTeams, "teams.read", /*        */ kAll, kAll, kSubtree, kNone},
    Row{Capability::kCreateTeams, "teams.create", /*    */ kAll, kNone, kNone, kNone},
    Row{Capability::kReadKeys, "keys.read", /*          */ kAll, kOwn, kSubtree, kOwn},
    Row{Capability::kManageKeys, "keys.manage", /*      */ kAll, kNone, kSubtree, kNone},
    Row{Capability::kRevokeKeys, "keys.revoke", /*      */ kAll, kOwn, kSubtree, kOwn},
    Row{Capability::kReadStatus, "status.read", /*      */ kAll, kNone, kNone, kNone},
    Row{Capability::kManageModels, "models.manage", /*  */ kAll, kNone, kNone, kNone},
    Row{Capability::kManageEngines, "engines.manage", /**/ kAll, kNone, kNone, kNone},
    Row{Capability::kManageLogs, "logs.manage", /*      */ kAll, kNone, kNone, kNone},
    Row{Capability::kManageSettings, "settings.manage", kAll, kNone, kNone, kNone},
};

constexpr auto kCapabilities = [] {
  std::array<Capability, kTable.size()> all{};
  std::ranges::transform(kTable, all.begin(), &Row::capability);
  return all;
}();

const Row& RowOf(Capability capability) {
  const auto row = std::ranges::find(kTable, capability, &Row::capability);
  PENSTOCK_CHECK(row != kTable.end());
  return *row;
}

}  // namespace

std::span<const Capability> Capabilities() {
  return kCapabilities;
}

std::string_view CapabilityName(Capability capability) {
  return RowOf(capability).name;
}

Reach ReachOf(Role role, Capability capability) {
  const Row& row = RowOf(capability);
  switch (role) {
    case Role::kOperator:
      return row.operator_;
    case Role::kFinance:
      return row.finance;
    case Role::kTeamLead:
      return row.team_lead;
    case Role::kDeveloper:
      return row.developer;
  }
  return kNone;
}

std::string RolesThatMay(Capability capability) {
  std::string names;
  for (const Role role : kRoles) {
    if (May(role, capability)) names.append(names.empty() ? "" : " or ").append(RoleName(role));
  }
  return names;
}

std::string_view RoleName(Role role) {
  switch (role) {
    case Role::kOperator:
      return "operator";
    case Role::kFinance:
      return "finance";
    case Role::kTeamLead:
      return "team_lead";
    case Role::kDeveloper:
      return "developer";
  }
  return "developer";
}

std::optional<Role> RoleOf(std::string_view name) {
  const auto role = std::ranges::find(kRoles, name, RoleName);
  return role == kRoles.end() ? std::nullopt : std::optional(*role);
}

bool IsOfATeam(Role role) {
  return role == Role::kTeamLead || role == Role::kDeveloper;
}

bool MayMake(Role maker, Role made) {
  switch (ReachOf(maker, Capability::kManageKeys)) {
    case kAll:
      return true;
    case kSubtree:
      return IsOfATeam(made);
    default:
      return false;
  }
}

bool Scope::CoversTeam(TeamId team) const {
  return reach == kAll || (reach == kSubtree && team == own_team && own_team != 0);
}

bool Scope::Covers(TeamId team, KeyId key) const {
  return CoversTeam(team) || (reach != kNone && key == own_key);
}

Scope ScopeOf(const Principal& principal, Capability capability) {
  return {ReachOf(principal.role, capability), principal.team, principal.key};
}

}  // namespace penstock
