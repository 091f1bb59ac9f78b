// Progress of a long operation: in a terminal, one line that redraws itself, with a bar, the rate and the
// time left; elsewhere, a plain line from time to time. Written to stderr, so that stdout has only the
// result.
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
// The line that is shown. `columns` 0: a plain line; else with a bar that fills a terminal of that width.
std::string ProgressLine(std::string_view what, const ProgressState& state, int columns);

class Progress {
 public:
  explicit Progress(std::string what);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `total` 0: unknown. `from`: bytes that existed before; they do not count for the rate.
  void Update(uint64_t done, uint64_t total, uint64_t from = 0);
  // Ends the line. A later Update starts a new one.
  void Finish();

 private:
  double Rate(Nanos now, uint64_t done, uint64_t from);

  std::string what_;
  bool terminal_;
  bool open_ = false;
  Nanos began_, shown_ = 0;
  // The rate of the last seconds, from which the time left is computed.
  Nanos mark_ = 0;
  uint64_t mark_done_ = 0;
  double rate_ = 0;
};

}  // namespace penstock
