#include "base/log_level.h"

#include <array>

namespace penstock {
namespace {

struct Word {
  std::string_view word;
  LogLevel level;
};
constexpr std::array<Word, 5> kWords = {{{"error", LogLevel::err},
                                         {"warning", LogLevel::warn},
                                         {"info", LogLevel::info},
                                         {"debug", LogLevel::debug},
                                         {"trace", LogLevel::trace}}};

}  // namespace

Result<LogLevel> ParseLogLevel(std::string_view word) {
  for (const Word& known : kWords) {
    if (known.word == word) return known.level;
  }
  return Fail(Code::kInvalid, "'{}' is not a log level: use error, warning, info, debug or trace", word);
}

std::string_view LogLevelName(LogLevel level) {
  for (const Word& known : kWords) {
    if (known.level == level) return known.word;
  }
  return "info";
}

}  // namespace penstock
