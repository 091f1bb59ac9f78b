// What admin requests' bodies hold.
#pragma once

#include "gateway/json_fields.h"
#include "teams/teams.h"

namespace penstock::gateway {

// The body of POST /admin/v1/keys; faults stay in `fields`.
NewKey ReadNewKey(Fields& fields);

}  // namespace penstock::gateway
