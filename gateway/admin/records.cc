#include "gateway/admin/records.h"

#include "gateway/observe/log.h"
#include "teams/names.h"

namespace penstock::gateway {

void AppendWarnings(JsonWriter& writer) {
  writer.Key("warnings").Array();
  for (const Warning& warning : LatestWarnings()) {
    writer.Object().FieldNumber("at", FractionalSeconds(warning.at));
    writer.Field("level", LogLevelName(warning.level)).Field("text", warning.text).EndObject();
  }
  writer.EndArray();
}

double FractionalSeconds(Nanos wall) {
  return static_cast<double>(wall / kMillisecond) / 1000;
}

Result<TeamId> FindTeam(const Accounts& accounts, const Scope& scope, std::string_view name) {
  const std::vector<Team> teams = accounts.Teams();
  if (const Team* const team = FindTeamIn(teams, name); team != nullptr && scope.CoversTeam(team->id))
    return team->id;
  return Fail(Reason::kTeamUnknown, "there is no team '{}', or this key may not see it", name);
}

}  // namespace penstock::gateway
