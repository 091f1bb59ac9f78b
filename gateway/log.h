// The gateway's log: JSON lines on stderr, never a prompt, an answer or a key. Written in batches: a line
// costs no system call of its own. Threads: the io thread.
#pragma once

#include <spdlog/logger.h>

#include <memory>
#include <string>
#include <string_view>

#include "gateway/metrics.h"

namespace penstock::gateway {

class Log {
 public:
  // Writes to file descriptor `fd`, which stays the caller's.
  Log(int fd, const Clock& clock);

  void Ended(const RequestEnd& end);
  // Something that an operator should know: "started", "draining". `detail` is for people.
  void Note(std::string_view event, std::string_view detail);
  void Warn(std::string_view event, std::string_view detail);
  void Flush() { logger_->flush(); }

 private:
  void Write(spdlog::level::level_enum level, std::string_view event, std::string_view detail);

  const Clock& clock_;
  std::shared_ptr<spdlog::logger> logger_;
};

// From here on, what other floors say through spdlog becomes such lines too. Any thread may log so.
void LogOthersAsJson(int fd);

}  // namespace penstock::gateway
