// Progress of something long: one line that redraws itself in a terminal, a plain line now and then
// elsewhere. Written to stderr, so that stdout stays the answer.
#pragma once

#include <cstdint>
#include <string>

#include "base/clock.h"

namespace penstock {

class Progress {
 public:
  explicit Progress(std::string what);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `total` 0: unknown. `from`: bytes that were there before, so that the rate is honest.
  void Update(uint64_t done, uint64_t total, uint64_t from = 0);
  // Ends the line.
  void Finish();

 private:
  std::string what_;
  bool terminal_;
  bool open_ = false;
  Nanos began_, shown_ = 0;
};

}  // namespace penstock
