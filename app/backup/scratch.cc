#include "app/backup/scratch.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

namespace penstock {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kPartial = ".partial.";

Fd OpenFolder(const std::string& path) {
  return Fd(open(path.empty() ? "." : path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
}

// `of`: only those of this place; empty: all.
void Remove(const std::string& folder, std::string_view of) {
  std::error_code error;
  for (fs::directory_iterator at(folder.empty() ? "." : folder, error), end; !error && at != end;
       at.increment(error)) {
    const std::string name = at->path().filename();
    if (!IsPartial(name) || (!of.empty() && name.substr(0, name.rfind(kPartial)) != of)) continue;
    const Fd left = OpenFolder(at->path());
    if (!left || flock(left.get(), LOCK_EX | LOCK_NB) != 0) continue;
    std::error_code ignored;
    fs::remove_all(at->path(), ignored);
  }
}

}  // namespace

Scratch::Scratch(const std::string& place) : path_(fmt::format("{}{}{}", place, kPartial, getpid())) {}

Scratch::~Scratch() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

Status Scratch::Create() {
  std::error_code error;
  fs::create_directories(fs::path(path_).parent_path(), error);
  fs::remove_all(path_, error);
  if (!fs::create_directory(path_, error) || error)
    return Fail(Code::kIo, "cannot create {}: {}", path_, error.message());
  fs::permissions(path_, fs::perms::owner_all, error);
  lock_ = OpenFolder(path_);
  if (!lock_ || flock(lock_.get(), LOCK_EX | LOCK_NB) != 0)
    return FailErrno(Code::kIo, "cannot lock " + path_);
  return {};
}

Status Scratch::MoveTo(const std::string& place) const {
  if (rename(path_.c_str(), place.c_str()) != 0) {
    if (errno == EBUSY) return Fail(Code::kIo, "{} is a mount point: use a directory inside it", place);
    return FailErrno(Code::kIo, "cannot rename the finished folder to " + place);
  }
  return SyncFolder(fs::path(place).parent_path());
}

Status SyncFolder(const std::string& path) {
  const Fd folder = OpenFolder(path);
  return folder && fsync(folder.get()) == 0 ? Status{} : FailErrno(Code::kIo, path);
}

bool IsPartial(std::string_view name) {
  const size_t at = name.rfind(kPartial);
  if (at == std::string_view::npos || at == 0) return false;
  const std::string_view process = name.substr(at + kPartial.size());
  return !process.empty() && std::ranges::all_of(process, [](char c) { return c >= '0' && c <= '9'; });
}

void RemovePartials(const std::string& place) {
  const fs::path path(place);
  Remove(path.parent_path(), path.filename().string());
}

void RemovePartialsIn(const std::string& folder) {
  Remove(folder, "");
}

}  // namespace penstock
