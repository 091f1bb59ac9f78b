// The hidden command `gateway`: the process that serves HTTP, started by the supervisor.
#pragma once

#include "app/launch/child.h"

namespace penstock {

Result<int> RunGatewayProcess(const LoadedConfig& loaded, const ChildOptions& child);

}  // namespace penstock
