// The hidden command `await`: waits until a restarted child is back. The supervisor runs it as a process, so
// that its own loop does not wait.
#pragma once

#include "app/launch/child.h"

namespace penstock {

// Returns 0 when a process other than `child.replaces` runs the engine `child.name` and has loaded its
// models; without a name, when the gateway answers. Errors: kUnavailable: it was not back in time.
Result<int> AwaitChild(const LoadedConfig& loaded, const ChildOptions& child);

}  // namespace penstock
