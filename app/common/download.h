// Download: a file from an HTTP server, resumed where an earlier attempt was interrupted, checked by SHA-256.
//
// The name of the unfinished file is the hash that it must have, so any source of the same bytes can continue
// it. A server that ignores ranges, offers another size, or sends too much or the wrong bytes is detected and
// named; wrong bytes are deleted.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace penstock {

struct DownloadSpec {
  std::string url;
  std::vector<std::string> headers{};
  std::string sha256;  // 64 hexadecimal digits, required
  uint64_t size = 0;   // 0: as the server states
  std::string folder;  // of the unfinished file, FOLDER/SHA256.part
  Nanos connect_timeout = 5 * kSecond, stall_timeout = 20 * kSecond;
  int tries = 5;                      // consecutive attempts without progress beyond all earlier ones
  Nanos pause = kSecond;              // after a failed attempt
  Nanos longest_wait = 60 * kSecond;  // if a server asks to wait longer, the download fails
  // Called before each further attempt, with the reason and the wait before it.
  std::function<void(const Error& why, Nanos wait)> on_retry{};
  std::function<void(Nanos wait)> sleep{};  // empty: the thread sleeps
};

struct Downloaded {
  std::string path;  // the checked file, for the caller to move
  uint64_t size = 0;
};

// `progress(done, total, from)`: `total` is 0 while unknown; `from`: bytes of an earlier attempt.
using DownloadProgress = std::function<void(uint64_t done, uint64_t total, uint64_t from)>;

// Errors: kUnavailable (no answer, or interrupted too often: the bytes are kept for the next attempt),
// kNotFound, kForbidden, kCorrupt (wrong bytes or size), kIo (disk full: states how much is missing).
Result<Downloaded> Download(const DownloadSpec& spec, const DownloadProgress& progress);

}  // namespace penstock
