// The levels of the logs, with the same names everywhere.
//
//   error, warning  something is wrong; an operator should look at it
//   info            events of the cloud, and a line for each request that ended
//   debug           events of each request
//   trace           each step of an engine
//
// No level logs a prompt, an answer or a key.
#pragma once

#include <spdlog/common.h>

#include <string_view>

#include "base/result.h"

namespace penstock {

using LogLevel = spdlog::level::level_enum;

// Errors: kInvalid: lists the levels.
Result<LogLevel> ParseLogLevel(std::string_view word);
std::string_view LogLevelName(LogLevel level);

}  // namespace penstock
