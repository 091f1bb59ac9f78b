// A lock on a directory that ends with the process, however it ends.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "base/result.h"

namespace penstock {

class DirectoryLock {
 public:
  // Creates `dir` (0700) if it is missing. Errors: kConflict (another process has it: says which), kIo.
  static Result<DirectoryLock> Take(const std::string& dir);
  DirectoryLock(DirectoryLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  DirectoryLock& operator=(DirectoryLock&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~DirectoryLock();

 private:
  explicit DirectoryLock(int fd) : fd_(fd) {}
  int fd_ = -1;
};

}  // namespace penstock
