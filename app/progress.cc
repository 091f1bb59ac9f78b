#include "app/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

namespace penstock {
namespace {

double Megabytes(uint64_t bytes) {
  return static_cast<double>(bytes) / 1e6;
}

}  // namespace

Progress::Progress(std::string what)
    : what_(std::move(what)), terminal_(isatty(STDERR_FILENO) == 1), began_(SystemClock().Monotonic()) {}

Progress::~Progress() {
  Finish();
}

void Progress::Update(uint64_t done, uint64_t total, uint64_t from) {
  const Nanos now = SystemClock().Monotonic();
  const Nanos pause = terminal_ ? 100 * kMillisecond : 5 * kSecond;
  const bool last = total != 0 && done >= total;
  if (shown_ != 0 && now - shown_ < pause && !(last && terminal_)) return;
  if (shown_ == 0 && !terminal_ && now - began_ < kSecond) return;  // short work needs no line
  shown_ = now;
  const double seconds = static_cast<double>(now - began_) / 1e9;
  std::string line = fmt::format("  {}  {:.1f} MB", what_, Megabytes(done));
  if (total != 0)
    line += fmt::format(" of {:.1f} ({:.0f}%)", Megabytes(total), 100.0 * Megabytes(done) / Megabytes(total));
  if (seconds > 0.2 && done > from) line += fmt::format("  {:.1f} MB/s", Megabytes(done - from) / seconds);
  fmt::print(stderr, "{}{}{}", terminal_ ? "\r\033[K" : "", line, terminal_ ? "" : "\n");
  std::fflush(stderr);
  open_ = terminal_;
}

void Progress::Finish() {
  if (open_) fmt::print(stderr, "\n");
  open_ = false;
}

}  // namespace penstock
