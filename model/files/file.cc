#include "model/files/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <utility>

namespace penstock {
namespace {

class Descriptor {
 public:
  explicit Descriptor(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

// The size of the regular file behind `file`.
Result<size_t> RegularSize(const Descriptor& file, const std::string& path) {
  if (file.get() < 0) return FailErrno(errno == ENOENT ? Code::kNotFound : Code::kIo, "cannot open " + path);
  struct stat info{};
  if (::fstat(file.get(), &info) != 0) return FailErrno(Code::kIo, "cannot read " + path);
  if (!S_ISREG(info.st_mode)) return Fail(Code::kInvalid, "{} is not a regular file", path);
  return static_cast<size_t>(info.st_size);
}

}  // namespace

Result<MappedFile> MappedFile::Open(std::string path) {
  const Descriptor file(path);
  PENSTOCK_ASSIGN(const size_t size, RegularSize(file, path));
  if (size == 0) return Fail(Reason::kModelDamaged, "{} is empty; download it again", path);
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.get(), 0);
  if (data == MAP_FAILED) return FailErrno(Code::kIo, "cannot map " + path);
  return MappedFile(std::move(path), {static_cast<const std::byte*>(data), size});
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void MappedFile::Release(std::span<const std::byte> part) const {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<uintptr_t>(part.data()) + page - 1) / page * page;
  const auto end = reinterpret_cast<uintptr_t>(part.data() + part.size()) / page * page;
  // Only a hint: if the system refuses it, the pages stay resident.
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

Result<std::string> ReadSmallFile(const std::string& path, size_t limit) {
  const Descriptor file(path);
  PENSTOCK_ASSIGN(const size_t size, RegularSize(file, path));
  if (size > limit) return Fail(Code::kTooLarge, "{} has {} bytes; at most {} are read", path, size, limit);
  std::string content(size, '\0');
  size_t done = 0;
  while (done < size) {
    const ssize_t got = ::read(file.get(), content.data() + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FailErrno(Code::kIo, "cannot read " + path);
    if (got == 0) break;  // the file became shorter
    done += static_cast<size_t>(got);
  }
  content.resize(done);
  return content;
}

}  // namespace penstock
