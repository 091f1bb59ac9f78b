#include "teams/lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>

namespace penstock {

static std::string Holder(int fd) {
  char text[32];
  const ssize_t bytes = ::pread(fd, text, sizeof text, 0);
  return bytes > 0 ? fmt::format(" (process {})", std::string_view(text, static_cast<size_t>(bytes))) : "";
}

Result<DirectoryLock> DirectoryLock::Take(const std::string& dir) {
  std::error_code error;
  if (std::filesystem::create_directories(dir, error)) {
    std::filesystem::permissions(dir, std::filesystem::perms::owner_all, error);
  }
  if (error) return Fail(Reason::kDataUnusable, "cannot create {}: {}", dir, error.message());
  const std::string path = dir + "/accounts.lock";
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return FailErrno(Code::kIo, "cannot open " + path, Reason::kDataUnusable);
  DirectoryLock lock(fd);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    return Fail(Reason::kDataInUse,
                "{} is in use by another penstock{}; stop that one, or name another data directory", dir,
                Holder(fd));
  }
  const std::string pid = std::to_string(::getpid());
  // Only for the message above: failing to write it harms nothing.
  if (::ftruncate(fd, 0) == 0) (void)!::pwrite(fd, pid.data(), pid.size(), 0);
  return lock;
}

DirectoryLock::~DirectoryLock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace penstock
