// What several pages share: warnings, times, and the team that a request names.
#pragma once

#include <string_view>

#include "base/clock.h"
#include "gateway/common/json_out.h"
#include "teams/roles.h"
#include "teams/teams.h"

namespace penstock::gateway {

// The team of that name, or with that id, if the scope covers it. Errors: kNotFound, whether it lies outside
// or does not exist.
Result<TeamId> FindTeam(const Accounts& accounts, const Scope& scope, std::string_view name);
// "warnings": the last few of this process; they may name files, so they are for those who may read the
// status.
void AppendWarnings(JsonWriter& writer);
// Wall nanoseconds as Unix seconds with a fraction.
double FractionalSeconds(Nanos wall);

}  // namespace penstock::gateway
