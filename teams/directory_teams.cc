// Directory's teams: created, renamed, removed. A team that was removed keeps its id and its name, so that
// the usage records that name it stay unambiguous.
#include <algorithm>

#include "teams/directory.h"
#include "teams/names.h"

namespace penstock {

Result<Team> Directory::PresentTeam(TeamId id) const {
  const auto found = teams_.find(id);
  if (found == teams_.end()) return Fail(Reason::kTeamUnknown, "there is no team {}", id);
  if (found->second.removed == 0) return found->second;
  return Fail(Reason::kTeamUnknown, "team '{}' was removed; only its usage records remain",
              found->second.name);
}

// `given`, checked, if no team but `except` has it.
Result<std::string> Directory::FreeTeamName(std::string_view given, TeamId except) const {
  PENSTOCK_ASSIGN(std::string name, CheckedName("team", given));
  const std::string folded = FoldedName(name);
  const auto same = std::ranges::find_if(teams_, [&](const auto& team) {
    return team.first != except && FoldedName(team.second.name) == folded;
  });
  if (same != teams_.end() && same->second.removed != 0) {
    return Fail(Reason::kTeamExists, "a removed team had the name '{}', and usage records still name it",
                same->second.name);
  }
  if (folded == "operator" || same != teams_.end() || new_teams_.contains(folded)) {
    return Fail(Reason::kTeamExists, "there is a team '{}' already",
                same == teams_.end() ? name : same->second.name);
  }
  return name;
}

void Directory::CreateTeam(const Write& write, std::string_view given, Done<Result<Team>> done) {
  const auto name = FreeTeamName(given, 0);
  if (!name) return done(std::unexpected(name.error()));
  const std::string folded = FoldedName(*name);
  const auto team = std::make_shared<Team>(Team{.name = *name, .created = clock_.Wall()});
  new_teams_.insert(folded);
  write(
      [team](Database& database) -> Status {
        PENSTOCK_ASSIGN(Statement insert,
                        database.Prepare("INSERT INTO teams(name, created) VALUES(?1, ?2)"));
        PENSTOCK_TRY(insert.Bind(team->name, team->created).Run());
        team->id = database.LastInsertId();
        return {};
      },
      [this, team, folded, done = std::move(done)](const Status& written) {
        new_teams_.erase(folded);
        if (!written) return done(std::unexpected(written.error()));
        done(teams_[team->id] = *team);
      });
}

void Directory::RenameTeam(const Write& write, TeamId id, std::string_view given, Done<Result<Team>> done) {
  if (const auto team = PresentTeam(id); !team) return done(std::unexpected(team.error()));
  const auto name = FreeTeamName(given, id);
  if (!name) return done(std::unexpected(name.error()));
  const std::string folded = FoldedName(*name);
  new_teams_.insert(folded);
  write(
      [id, name = *name](Database& database) -> Status {
        PENSTOCK_ASSIGN(Statement update, database.Prepare("UPDATE teams SET name = ?1 WHERE id = ?2"));
        return update.Bind(name, id).Run();
      },
      [this, id, name = *name, folded, done = std::move(done)](const Status& written) {
        new_teams_.erase(folded);
        if (!written) return done(std::unexpected(written.error()));
        for (auto& [_, key] : keys_) {
          if (key.team == id) key.team_name = name;
        }
        Team& team = teams_.at(id);
        team.name = name;
        done(team);
      });
}

// In memory first, as a revocation: its keys are refused and its running requests end, even if the store
// cannot be written.
void Directory::RemoveTeam(const Write& write, TeamId id, Done<Result<Team>> done) {
  if (!teams_.contains(id)) return done(Fail(Reason::kTeamUnknown, "there is no team {}", id));
  Team& team = teams_.at(id);
  if (team.removed == 0) team.removed = clock_.Wall();
  for (auto& [_, key] : keys_) {
    if (key.team == id && key.revoked == 0) key.revoked = team.removed;
  }
  write(
      [id, at = team.removed](Database& database) -> Status {
        PENSTOCK_ASSIGN(Statement remove, database.Prepare("UPDATE teams SET removed = ?2 WHERE id = ?1"));
        PENSTOCK_TRY(remove.Bind(id, at).Run());
        PENSTOCK_ASSIGN(Statement revoke,
                        database.Prepare("UPDATE keys SET revoked = ?2 WHERE team = ?1 AND revoked = 0"));
        return revoke.Bind(id, at).Run();
      },
      [this, id, done = std::move(done)](const Status& written) {
        if (written) return done(teams_.at(id));
        done(Fail(written.error().code,
                  "the keys of team '{}' are refused from now on, but only until Penstock is restarted: {}; "
                  "remove the team again then",
                  teams_.at(id).name, written.error().message));
      });
}

void Directory::SetExternal(const Write& write, TeamId id, bool external, Done<Result<Team>> done) {
  if (const auto team = PresentTeam(id); !team) return done(std::unexpected(team.error()));
  write(
      [id, external](Database& database) -> Status {
        PENSTOCK_ASSIGN(Statement update, database.Prepare("UPDATE teams SET external = ?1 WHERE id = ?2"));
        return update.Bind(int64_t{external}, id).Run();
      },
      [this, id, external, done = std::move(done)](const Status& written) {
        if (!written) return done(std::unexpected(written.error()));
        Team& team = teams_.at(id);
        team.external = external;
        done(team);
      });
}

std::vector<Team> Directory::Teams() const {
  std::vector<Team> teams;
  for (const auto& [id, team] : teams_) teams.push_back(team);
  return teams;
}

}  // namespace penstock
