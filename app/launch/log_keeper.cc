#include "app/launch/log_keeper.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>

#include "app/common/data_dir.h"

namespace penstock {

bool RotateLog(const std::string& path, int fd, off_t most) {
  struct stat open_file{}, named{};
  if (fstat(fd, &open_file) != 0 || stat(path.c_str(), &named) != 0) return false;
  if (open_file.st_ino != named.st_ino || open_file.st_dev != named.st_dev) return false;
  if (open_file.st_size <= most || std::rename(path.c_str(), (path + ".1").c_str()) != 0) return false;
  const Fd fresh(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640));
  return fresh && dup2(fresh.get(), fd) == fd;
}

LogKeeper::LogKeeper(std::string path) : path_(std::move(path)) {
  if (path_.empty()) return;
  sigset_t all, before;  // this thread must not receive signals: other threads wait for them
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { Run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

LogKeeper::~LogKeeper() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void LogKeeper::Run() {
  std::unique_lock lock(mutex_);
  do {
    if (RotateLog(path_, STDERR_FILENO, kMost)) dup2(STDERR_FILENO, STDOUT_FILENO);
  } while (!wake_.wait_for(lock, std::chrono::seconds(1), [this] { return stop_; }));
}

}  // namespace penstock
