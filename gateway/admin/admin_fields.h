// What admin requests' bodies hold.
#pragma once

#include "gateway/api.h"
#include "gateway/common/json_fields.h"
#include "teams/teams.h"

namespace penstock::gateway {

// The body as an object; an empty body is an empty one. Answers the call and returns nothing on an error.
std::optional<json::value> ReadBody(const Call& call);

// Admin requests are checked strictly: an unknown field is a mistake, not a dialect. Answers the call and
// returns false on one, or on a fault.
bool Accept(const Call& call, Fields& fields);

// The body of POST /admin/v1/keys; faults stay in `fields`. Who is of a team makes keys of that one, and of
// the own models, unless the body says otherwise.
NewKey ReadNewKey(Fields& fields, const Principal& maker);

}  // namespace penstock::gateway
