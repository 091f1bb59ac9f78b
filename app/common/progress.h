// Progress of something long: one line that redraws itself in a terminal, with a bar, the rate and the time
// left; a plain line now and then elsewhere. Written to stderr, so that stdout stays the answer.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"

namespace penstock {

struct ProgressState {
  uint64_t done = 0, total = 0;  // bytes; total 0: not known
  double rate = 0;               // bytes/s; 0: not known yet
};
// What is shown of it. `columns` 0: a plain line; else a bar that fills a terminal so wide.
std::string ProgressLine(std::string_view what, const ProgressState& state, int columns);

class Progress {
 public:
  explicit Progress(std::string what);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `total` 0: unknown. `from`: bytes that were there before, so that the rate is honest.
  void Update(uint64_t done, uint64_t total, uint64_t from = 0);
  // Ends the line. It may go on afterwards, on another.
  void Finish();

 private:
  double Rate(Nanos now, uint64_t done, uint64_t from);

  std::string what_;
  bool terminal_;
  bool open_ = false;
  Nanos began_, shown_ = 0;
  // The rate is that of the last seconds: what is left goes by it.
  Nanos mark_ = 0;
  uint64_t mark_done_ = 0;
  double rate_ = 0;
};

}  // namespace penstock
