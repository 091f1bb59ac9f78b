// Reads the bodies of admin requests.
#pragma once

#include "gateway/common/json_fields.h"
#include "gateway/http/call.h"
#include "teams/teams.h"

namespace penstock::gateway {

// The body as an object; no body counts as {}. Answers the call and returns nothing on an error.
std::optional<json::value> ReadBody(const Call& call);

// Admin requests are checked strictly: an unknown field is a mistake, not a dialect. Answers the call and
// returns false on one, or on a fault.
bool Accept(const Call& call, Fields& fields);

// The body of POST /admin/v1/keys; faults stay in `fields`. A member of a team makes keys of that team and
// with the own key's models, unless the body says otherwise.
NewKey ReadNewKey(Fields& fields, const Principal& maker);

}  // namespace penstock::gateway
