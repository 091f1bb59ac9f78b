// Log levels as JSON (gateway/admin/admin.h: Log).
#pragma once

#include "gateway/common/json_out.h"
#include "gateway/observe/log_control.h"

namespace penstock::gateway {

// An object with both parts.
void AppendLogLevels(const LogControl& control, JsonWriter& writer);

}  // namespace penstock::gateway
