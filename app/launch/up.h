// `penstock up`: checks what it needs, starts the gateway and the engines, and supervises them until Ctrl-C.
#pragma once

#include "app/settings/config.h"
#include "base/result.h"

namespace penstock {

// Returns the process's exit status. Errors name what is missing or in the way.
Result<int> Up(const LoadedConfig& loaded);

}  // namespace penstock
