// The hidden command `engine`: the process of one engine (a chip or an external server), started by the
// supervisor.
#pragma once

#include "app/launch/child.h"

namespace penstock {

Result<int> RunEngineProcess(const LoadedConfig& loaded, const ChildOptions& child);

}  // namespace penstock
