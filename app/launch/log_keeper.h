// LogKeeper: keeps a child's log bounded while it runs. The child's standard output and error are its log;
// when that has grown past kMost it becomes NAME.log.1, in place of an earlier one, and a new one takes over
// both descriptors at once. So whoever writes, libraries too, needs to know nothing of it, and no line is
// lost. Threads: one of its own.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

namespace penstock {

class LogKeeper {
 public:
  static constexpr off_t kMost = off_t{32} << 20;
  // `path` is what both descriptors write to; empty: nothing is kept.
  explicit LogKeeper(std::string path);
  ~LogKeeper();
  LogKeeper(const LogKeeper&) = delete;
  LogKeeper& operator=(const LogKeeper&) = delete;

 private:
  void Run();

  const std::string path_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  std::thread thread_;
};

// Sets aside the log at `path` if descriptor `fd` writes to that very file and it is longer than `most`: from
// then on `fd` writes to a new one. False: nothing was done.
bool SetAsideLog(const std::string& path, int fd, off_t most);

}  // namespace penstock
