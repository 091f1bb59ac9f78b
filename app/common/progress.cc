#include "app/common/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "app/common/table.h"

namespace penstock {
namespace {

constexpr int kWidest = 100;  // longer lines are not easier to read
constexpr int kShortestBar = 10;

int Columns() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return std::min<int>(size.ws_col, kWidest);
}

std::string Bar(double share, int width) {
  const int full = std::clamp(static_cast<int>(share * width), 0, width);
  return fmt::format("[{:#>{}}{:.>{}}]", "", full, "", width - full);
}

}  // namespace

std::string ProgressLine(std::string_view what, const ProgressState& state, int columns) {
  const bool known = state.total != 0;
  const double share = known ? static_cast<double>(state.done) / static_cast<double>(state.total) : 0;
  std::string head = fmt::format("  {}  ", what), tail = HumanBytes(state.done);
  if (known) tail = fmt::format("{:3.0f}%  {} of {}", 100 * share, tail, HumanBytes(state.total));
  if (state.rate > 0) tail += fmt::format("  {}/s", HumanBytes(static_cast<uint64_t>(state.rate)));
  if (state.rate > 0 && known && state.done < state.total) {
    tail +=
        fmt::format("  {} left", HumanSeconds(static_cast<double>(state.total - state.done) / state.rate));
  }
  const int room = columns - 1 - static_cast<int>(head.size() + tail.size()) - 4;  // "[", "]" and two spaces
  std::string line = known && room >= kShortestBar ? head + Bar(share, room) + "  " + tail : head + tail;
  if (columns > 1 && static_cast<int>(line.size()) >= columns) line.resize(static_cast<size_t>(columns) - 1);
  return line;
}

Progress::Progress(std::string what)
    : what_(std::move(what)), terminal_(isatty(STDERR_FILENO) == 1), began_(SystemClock().Monotonic()) {}

Progress::~Progress() {
  Finish();
}

double Progress::Rate(Nanos now, uint64_t done, uint64_t from) {
  constexpr Nanos kWindow = 3 * kSecond;
  if (mark_ == 0 || done < mark_done_) mark_ = began_, mark_done_ = std::min(from, done);
  const Nanos since = now - mark_;
  if (since > 200 * kMillisecond) {
    const double recent = static_cast<double>(done - mark_done_) / (static_cast<double>(since) / 1e9);
    rate_ = mark_ == began_ || rate_ == 0 ? recent : (rate_ + recent) / 2;
  }
  if (since > kWindow) mark_ = now, mark_done_ = done;
  return rate_;
}

void Progress::Update(uint64_t done, uint64_t total, uint64_t from) {
  const Nanos now = SystemClock().Monotonic();
  const Nanos pause = terminal_ ? 100 * kMillisecond : 5 * kSecond;
  const bool last = total != 0 && done >= total;
  if (shown_ != 0 && now - shown_ < pause && !(last && terminal_)) return;
  if (shown_ == 0 && !terminal_ && now - began_ < kSecond) return;  // no line for short operations
  shown_ = now;
  const std::string line = ProgressLine(what_, {.done = done, .total = total, .rate = Rate(now, done, from)},
                                        terminal_ ? Columns() : 0);
  fmt::print(stderr, "{}{}{}", terminal_ ? "\r\033[K" : "", line, terminal_ ? "" : "\n");
  std::fflush(stderr);
  open_ = terminal_;
}

void Progress::Finish() {
  if (open_) fmt::print(stderr, "\n");
  open_ = false;
}

}  // namespace penstock
