#include "app/common/data_dir.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <filesystem>
#include <functional>
#include <utility>

#include "app/common/table.h"

namespace penstock {
namespace fs = std::filesystem;
namespace {

Status WriteAll(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t wrote = write(fd, text.data(), text.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return FailErrno(Code::kIo, "write");
    text.remove_prefix(static_cast<size_t>(wrote));
  }
  return {};
}

}  // namespace

Fd& Fd::operator=(Fd&& other) noexcept {
  if (this != &other) {
    Close();
    fd_ = other.Release();
  }
  return *this;
}

void Fd::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

Result<DataDir> DataDir::Open(std::string path) {
  std::error_code error;
  const bool existed = fs::exists(path, error);
  fs::create_directories(path, error);
  if (!error && !existed) fs::permissions(path, fs::perms::owner_all, error);
  if (error) {
    return Fail(Reason::kDataUnusable, "cannot use the data directory {}: {}. Choose another with --data DIR",
                path, error.message());
  }
  if (access(path.c_str(), W_OK | X_OK) != 0) {
    return Fail(
        Reason::kDataUnusable,
        "this user cannot write to the data directory {}: try with sudo, or choose another with --data "
        "DIR",
        path);
  }
  return DataDir(std::move(path));
}

Result<std::string> DataDir::EngineSocket() const {
  std::string socket = path_ + "/engine.sock";
  if (socket.size() <= 100) return socket;
  const std::string folder =
      fmt::format("/tmp/penstock-{}-{:016x}", getuid(), std::hash<std::string>()(path_));
  struct stat info{};
  if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return FailErrno(Code::kIo, folder);
  if (lstat(folder.c_str(), &info) != 0 || !S_ISDIR(info.st_mode) || info.st_uid != getuid()) {
    return Fail(Code::kIo, "{} belongs to another user: use a shorter --data DIR", folder);
  }
  return folder + "/engine.sock";
}

Result<Fd> DataDir::Lock() const {
  const std::string path = path_ + "/lock";
  Fd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) return FailErrno(Code::kIo, path);
  if (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return FailErrno(Code::kIo, path);
    return Fail(
        Reason::kDataInUse,
        "another penstock (process {}) runs on {}. Stop it, or start this one with another --data DIR",
        LockedBy(), path_);
  }
  if (ftruncate(fd.get(), 0) != 0) return FailErrno(Code::kIo, path);
  PENSTOCK_TRY(WriteAll(fd.get(), fmt::format("{}\n", getpid())));
  return fd;
}

DataDir::LockState DataDir::LookAtLock() const {
  const std::string path = path_ + "/lock";
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return {};
  LockState state;
  state.held = flock(fd.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  char text[32] = {};
  const ssize_t size = pread(fd.get(), text, sizeof text - 1, 0);
  std::from_chars(text, text + std::max<ssize_t>(size, 0), state.process);
  return state;
}

int DataDir::LockedBy() const {
  const LockState state = LookAtLock();
  return state.held ? state.process : 0;
}

bool DataDir::BelongsToAnother() const {
  struct stat owner{};
  return geteuid() == 0 && stat(path_.c_str(), &owner) == 0 && owner.st_uid != 0;
}

void DataDir::GiveToOwner() const {
  struct stat owner{};
  if (!BelongsToAnother() || stat(path_.c_str(), &owner) != 0) return;
  std::error_code error;
  fs::recursive_directory_iterator at(Models(), error), end;
  if (error) return;
  [[maybe_unused]] int given = lchown(Models().c_str(), owner.st_uid, owner.st_gid);
  for (; !error && at != end; at.increment(error))
    given = lchown(at->path().c_str(), owner.st_uid, owner.st_gid);
}

Status DataDir::RequireOwner() const {
  struct stat owner{};
  if (!BelongsToAnother() || stat(path_.c_str(), &owner) != 0) return {};
  const passwd* user = getpwuid(owner.st_uid);
  const std::string name = user != nullptr ? user->pw_name : std::to_string(owner.st_uid);
  return Fail(
      Code::kForbidden,
      "{} belongs to the user {}, who could not read files that root creates there. Start the service: "
      "systemctl start penstock. Or start it by hand: runuser -u {} -- penstock up",
      path_, name, name);
}

Status WriteFileAtomically(const std::string& path, std::string_view text, unsigned mode) {
  const std::string scratch = fmt::format("{}.{}.new", path, getpid());
  unlink(scratch.c_str());
  const Fd fd(open(scratch.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (!fd) return FailErrno(Code::kIo, scratch);
  auto wrote = WriteAll(fd.get(), text);
  if (wrote.has_value() && (fsync(fd.get()) != 0 || rename(scratch.c_str(), path.c_str()) != 0)) {
    wrote = FailErrno(Code::kIo, path);
  }
  if (!wrote.has_value()) {
    unlink(scratch.c_str());
    return Fail(Code::kIo, "cannot write {}: {}", path, wrote.error().message);
  }
  return {};
}

Status WriteSecretFile(const std::string& path, std::string_view text) {
  return WriteFileAtomically(path, text, 0600);
}

Result<std::string> ReadTextFile(const std::string& path) {
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return FailErrno(errno == ENOENT ? Code::kNotFound : Code::kIo, path);
  std::string text;
  char block[4096];
  for (;;) {
    const ssize_t got = read(fd.get(), block, sizeof block);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FailErrno(Code::kIo, path);
    if (got == 0) break;
    text.append(block, static_cast<size_t>(got));
  }
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) text.pop_back();
  return text;
}

Result<uint64_t> FreeDiskBytes(const std::string& path) {
  fs::path at = path;
  std::error_code error;
  while (!fs::exists(at, error) && at.has_parent_path() && at != at.parent_path()) at = at.parent_path();
  struct statvfs info{};
  if (statvfs(at.c_str(), &info) != 0) return FailErrno(Code::kIo, at.string());
  return static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
}

Status RequireDisk(const std::string& path, uint64_t bytes, std::string_view what) {
  PENSTOCK_ASSIGN(const uint64_t free, FreeDiskBytes(path));
  if (free >= bytes) return {};
  return Fail(Reason::kDiskFull,
              "not enough disk space for {}: {} needs {}, but {} are free. Free {} or use another --data DIR",
              what, path, HumanBytes(bytes), HumanBytes(free), HumanBytes(bytes - free));
}

}  // namespace penstock
