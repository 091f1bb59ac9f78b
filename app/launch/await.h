// The hidden command `await`: waits until a restarted child is back. The supervisor starts it, so that it
// waits for nothing itself.
#pragma once

#include "app/launch/child.h"

namespace penstock {

// Returns 0 once the engine `child.name` is back as another process than `child.replaces` and has its models;
// without a name, once the gateway answers. Errors: kUnavailable: it was not back in time.
Result<int> AwaitChild(const LoadedConfig& loaded, const ChildOptions& child);

}  // namespace penstock
