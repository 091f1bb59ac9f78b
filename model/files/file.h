// A file's bytes, mapped into memory and read from the disk when they are accessed.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace penstock {

// Read-only memory map of a whole regular file. Move-only; the bytes live as long as the object.
// Threads: any number at once.
// If another process truncates the file while it is mapped, the reader gets SIGBUS: only the engine's process
// ends then, not the cloud.
class MappedFile {
 public:
  // Errors: kNotFound, kIo, kCorrupt (empty file); each names `path`.
  static Result<MappedFile> Open(std::string path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }
  const std::string& path() const { return path_; }

  // Gives the memory of whole pages inside `part` back: after weights are repacked, their file pages
  // do not have to stay resident. The bytes stay readable (from the page cache or the disk).
  void Release(std::span<const std::byte> part) const;

 private:
  MappedFile(std::string path, std::span<const std::byte> bytes) : path_(std::move(path)), bytes_(bytes) {}

  std::string path_;
  std::span<const std::byte> bytes_;
};

// The whole content of a small file (configurations, tokenizers).
// Errors: kNotFound, kIo, kTooLarge over `limit` bytes; each names `path`.
Result<std::string> ReadSmallFile(const std::string& path, size_t limit);

}  // namespace penstock
