// Roles: what each may do, and to whose things. One table: every route checks it, GET /v1/seat shows it.
//
// A capability is what is done; a reach is upon whose things. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "teams/teams.h"

namespace penstock {

enum class Capability : uint8_t {
  kReadSeat,      // who this key is
  kCreateLogins,  // further secrets for the own key, each of which can be revoked separately
  kUseModels,     // generate, and list what may be used
  kReadUsage,     // what was used
  kReadRequests,  // a request's outcome, counters and trace, never its text
  kReadLive,      // what runs and waits now
  kReadTeams,
  kCreateTeams,
  kReadKeys,    // names and states; secrets are never read
  kManageKeys,  // create and rotate: both return a secret
  kRevokeKeys,
  kReadStatus,     // engines, queue, store
  kManageModels,   // list with paths, rescan, load, unload
  kManageEngines,  // drain, resume, restart
  kManageLogs,     // how much is said in them
  kManageSettings,
};
std::span<const Capability> Capabilities();
std::string_view CapabilityName(Capability capability);  // "usage.read"

enum class Reach : uint8_t {
  kNone,
  kOwn,      // the key's own
  kSubtree,  // the own team's, and those of teams below it (teams are flat today)
  kAll,
};
Reach ReachOf(Role role, Capability capability);
inline bool May(Role role, Capability capability) {
  return ReachOf(role, capability) != Reach::kNone;
}
// "operator or finance": who may, for refusals.
std::string RolesThatMay(Capability capability);

std::optional<Role> RoleOf(std::string_view name);
// A role that speaks for a team, not for the cloud.
bool IsOfATeam(Role role);
// Whether a key of the role `maker` may make, or renew, one of the role `made`.
bool MayMake(Role maker, Role made);

// Whose things a principal reaches. Copies what it needs of the principal.
struct Scope {
  Reach reach = Reach::kNone;
  TeamId own_team = 0;
  KeyId own_key = 0;

  bool CoversTeam(TeamId team) const;
  bool Covers(TeamId team, KeyId key) const;  // something of that key, which is of that team
};
Scope ScopeOf(const Principal& principal, Capability capability);

}  // namespace penstock
