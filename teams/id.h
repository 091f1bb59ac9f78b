// Request ids: 128 bits of which the upper 64 order by time and the lower 64 cannot be guessed.
//
//   req_ + 26 characters of Crockford's base32 (lower case), as in ULID
//   sequence = milliseconds since the epoch << 20 | counter: unique and rising within one store, and the
//   row id of the request there. So rows are appended, never inserted into the middle of an index.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace penstock {

struct RequestId {
  int64_t sequence = 0;
  uint64_t nonce = 0;
  bool operator==(const RequestId&) const = default;
};

constexpr int kSequenceCounterBits = 20;
constexpr int64_t SequenceAt(Nanos wall) {
  return (wall / kMillisecond) << kSequenceCounterBits;
}
constexpr Nanos WallOf(int64_t sequence) {
  return (sequence >> kSequenceCounterBits) * kMillisecond;
}

std::string FormatId(const RequestId& id);
// Errors: kInvalid: not of the form above.
Result<RequestId> ParseId(std::string_view text);

// Threads: one.
class IdSource {
 public:
  // Every id comes after sequence `last`, whatever the clock says.
  explicit IdSource(int64_t last) : last_(last) {}
  RequestId Next(Nanos wall);

 private:
  int64_t last_;
  std::vector<uint64_t> nonces_;  // drawn in bulk
};

}  // namespace penstock
