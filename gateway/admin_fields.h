// What admin requests' bodies hold.
#pragma once

#include "gateway/json_fields.h"
#include "teams/teams.h"

namespace penstock::gateway {

// The body of POST /admin/v1/keys; faults stay in `fields`. Who is of a team makes keys of that one, and of
// the own models, unless the body says otherwise.
NewKey ReadNewKey(Fields& fields, const Principal& maker);

}  // namespace penstock::gateway
