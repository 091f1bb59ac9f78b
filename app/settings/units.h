// Units: sizes, times, shares and core lists in the forms in which users write them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace penstock {

// Errors (kInvalid) state what was expected and what was given: "must be a size such as 16MiB or 8GiB, not
// 'x'".

// "8GiB", "512 MB", "4096" → bytes.
Result<uint64_t> ParseBytes(std::string_view text);
// "500ms", "30s", "10m", "2h", "30" (seconds) → nanoseconds.
Result<Nanos> ParseDuration(std::string_view text);
// "150%" or "1.5" → 1.5; empty → 0.
Result<double> ParseShare(std::string_view text);
// "0-3,8" → 0, 1, 2, 3, 8.
Result<std::vector<int>> ParseCoreList(std::string_view text);
// A whole number from 0 to `most`.
Result<uint64_t> ParseNumber(std::string_view text, uint64_t most = INT64_MAX);

std::string ShowCoreList(const std::vector<int>& cores);  // ascending: "0-3,8"
std::string ShowBytes(uint64_t bytes);                    // exact, as ParseBytes reads it: "8GiB", "1000"
std::string ShowDuration(Nanos duration);                 // "30s", "500ms"
std::string ShowShare(double share);                      // "150%"; 0: empty

// "must be `what`, not 'text'".
std::unexpected<Error> MustBe(std::string_view what, std::string_view text);

}  // namespace penstock
