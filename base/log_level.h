// How much is said in the logs: one of a few words, the same everywhere.
//
//   error, warning  something is wrong; somebody should look
//   info            what happens to the cloud, and a line for each request that ended
//   debug           what happens to each request
//   trace           each step of an engine
//
// At no level does a log hold a prompt, an answer or a key.
#pragma once

#include <spdlog/common.h>

#include <string_view>

#include "base/result.h"

namespace penstock {

using LogLevel = spdlog::level::level_enum;

// Errors: kInvalid: names the words there are.
Result<LogLevel> ParseLogLevel(std::string_view word);
std::string_view LogLevelName(LogLevel level);

}  // namespace penstock
