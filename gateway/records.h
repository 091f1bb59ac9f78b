// How requests and usage look as JSON: one form for /v1 and /admin/v1 (gateway/admin.h describes it).
#pragma once

#include <string>

#include "gateway/api.h"

namespace penstock::gateway {

std::string RequestJson(const RequestRecord& record);
// Answers `call` with the usage that its query string selects within `scope` (team, or nothing).
void SendUsage(const Call& call, UsageQuery scope);
// A request by the id in the path, of the asker's team or, for an operator, any; ids of answers
// ("chatcmpl-…") are understood too. Errors: kNotFound.
Result<RequestRecord> FindRequest(const Call& call);
// Wall nanoseconds as Unix seconds with a fraction.
double FractionalSeconds(Nanos wall);

}  // namespace penstock::gateway
