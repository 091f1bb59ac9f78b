// LogKeeper: limits the size of a child's log while it runs. The child's standard output and error are its
// log. When the log exceeds kMost, it is renamed to NAME.log.1, which replaces an earlier one, and both
// descriptors switch to a new file at once. So the code that writes, libraries included, need not know of it,
// and no line is lost. Threads: it has its own.
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
  // `path` is the file that both descriptors write to; empty: does nothing.
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

// Renames the log at `path` if descriptor `fd` writes to that file and it is longer than `most`; then `fd`
// writes to a new file. False: nothing was done.
bool RotateLog(const std::string& path, int fd, off_t most);

}  // namespace penstock
