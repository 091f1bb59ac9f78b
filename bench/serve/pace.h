// The pace of a simulated engine: kPacedTokens tokens per stream, kPaceNs apart, each stream in its own
// phase. mock_upstream and instant_engine share it, so that both sides of a comparison get the same input.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <queue>
#include <vector>

namespace penstock::bench {

constexpr int kPacedTokens = 50;
constexpr int64_t kPaceNs = 20'000'000;

inline int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

class Pacer {
 public:
  struct Turn {
    int64_t id = 0;
    uint64_t serial = 0;
    int index = 0;  // of this token
    int64_t at = 0;
    bool operator<(const Turn& other) const { return at > other.at; }  // earliest on top
  };

  void Add(Turn first) { turns_.push(first); }

  // Milliseconds until the next turn, for poll: 0 if one is due, -1 if there is none. Rounded up, so that
  // no turn is early; all turns of one millisecond run together, like the tokens of one engine step.
  int WaitMs() const {
    if (turns_.empty()) return -1;
    return static_cast<int>(std::max<int64_t>(0, (turns_.top().at - NowNs() + 999'999) / 1'000'000));
  }

  template <class Send>
  void Due(Send send) {
    const int64_t now = NowNs();
    while (!turns_.empty() && turns_.top().at <= now) {
      Turn turn = turns_.top();
      turns_.pop();
      send(turn);
      if (++turn.index == kPacedTokens) continue;
      turn.at += kPaceNs;
      turns_.push(turn);
    }
  }

 private:
  std::priority_queue<Turn> turns_;
};

}  // namespace penstock::bench
