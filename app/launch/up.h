// `penstock up`: checks what it needs, starts the gateway and the engines, and supervises them until Ctrl-C.
#pragma once

#include "app/settings/config.h"
#include "base/result.h"

namespace penstock {

// Returns the process's exit status. Errors name what is missing or what prevents the start.
Result<int> Up(const LoadedConfig& loaded);

}  // namespace penstock
