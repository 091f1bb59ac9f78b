// Sizes and times as people write them in settings.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

namespace penstock {

// "8GiB", "512 MB", "4096" → bytes. "500ms", "30s", "10m", "2h", "30" (seconds) → nanoseconds.
Result<uint64_t> ParseBytes(std::string_view text);
Result<Nanos> ParseDuration(std::string_view text);
std::string ShowBytes(uint64_t bytes);     // exact, as ParseBytes reads it: "8GiB", "1000"
std::string ShowDuration(Nanos duration);  // "30s", "500ms"

}  // namespace penstock
