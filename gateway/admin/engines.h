// Engines as JSON (gateway/admin/admin.h: Engine).
#pragma once

#include <string_view>

#include "fleet/fleet.h"
#include "gateway/common/json_out.h"

namespace penstock::gateway {

// The field `key` of an object: an array with every engine.
void AppendEngines(std::string_view key, const Fleet& fleet, JsonWriter& writer);

}  // namespace penstock::gateway
