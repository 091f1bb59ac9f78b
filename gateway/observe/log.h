// The gateway's log: JSON lines on stderr, never a prompt, an answer or a key. Written in batches: a line
// costs no system call of its own. Threads: the io thread.
#pragma once

#include <spdlog/logger.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/log_level.h"

#include "gateway/observe/metrics.h"

namespace penstock::gateway {

class Log {
 public:
  // Writes to file descriptor `fd`, which stays the caller's.
  Log(int fd, const Clock& clock);

  void Ended(const RequestEnd& end);
  // Something that an operator should know: "started", "draining". `detail` is for people.
  void Note(std::string_view event, std::string_view detail);
  void Warn(std::string_view event, std::string_view detail);
  // For debugging. `detail` is formatted only if the level is on.
  template <class... Args>
  void Debug(std::string_view event, fmt::format_string<Args...> detail, Args&&... args) {
    if (!logger_->should_log(LogLevel::debug)) return;
    Write(LogLevel::debug, event, fmt::format(detail, std::forward<Args>(args)...));
  }
  // For this log and for what other floors say.
  void SetLevel(LogLevel level);
  void Flush() { logger_->flush(); }

 private:
  void Write(LogLevel level, std::string_view event, std::string_view detail);

  const Clock& clock_;
  std::shared_ptr<spdlog::logger> logger_;
};

// The last few warnings and errors of this process, newest last. Threads: any.
struct Warning {
  Nanos at = 0;  // wall
  LogLevel level = LogLevel::warn;
  std::string text;
};
std::vector<Warning> LatestWarnings();

// From here on, what other floors say through spdlog becomes such lines too. Any thread may log so.
void LogOthersAsJson(int fd);

}  // namespace penstock::gateway
