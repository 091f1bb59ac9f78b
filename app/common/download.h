// Download: a file from an HTTP server, resumed where an earlier try was cut, checked by SHA-256.
//
// The unfinished file is named by the hash it must have, so whichever source offers the same bytes can go
// on with it. A server that ignores ranges, offers another size, sends too much or the wrong bytes is
// found out and named; wrong bytes are never kept.
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
  uint64_t size = 0;   // 0: what the server says
  std::string folder;  // where the unfinished file lies: FOLDER/SHA256.part
  Nanos connect_timeout = 5 * kSecond, stall_timeout = 20 * kSecond;
  int tries = 5;                      // in a row that came no further than any before
  Nanos pause = kSecond;              // after a try that failed
  Nanos longest_wait = 60 * kSecond;  // a server that asks for more patience is given up
  // Told before each further try: why, and after which wait.
  std::function<void(const Error& why, Nanos wait)> on_retry{};
  std::function<void(Nanos wait)> sleep{};  // empty: the thread sleeps
};

struct Downloaded {
  std::string path;  // the checked file, for the caller to move
  uint64_t size = 0;
};

// `progress(done, total, from)`: total 0 while unknown; `from`: bytes that an earlier try left.
using DownloadProgress = std::function<void(uint64_t done, uint64_t total, uint64_t from)>;

// Errors: kUnavailable (no answer, or cut too often: what came is kept for the next try), kNotFound,
// kForbidden, kCorrupt (wrong bytes or size), kIo (disk full: says how much is missing).
Result<Downloaded> Download(const DownloadSpec& spec, const DownloadProgress& progress);

}  // namespace penstock
