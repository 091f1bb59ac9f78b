// Concurrency: how many requests an upstream is given at once, learnt from how it answers.
//
// The queue belongs to Penstock, where it is fair; what waits in an upstream waits in the order of arrival.
// So an upstream gets as many as it begins at once and no more. Additive increase, multiplicative decrease:
//
//   more    an answer begins about as soon as it ever did, while the limit was in use
//   fewer   429 or 503, or a first token that took several times what it takes at best: it queued
//
// The best time is kept by the length of the prompt (in powers of two): long prompts take long, queue or not.
// It is forgotten with time, for chips change. One queue is told by many late answers: after a decrease, only
// requests that were sent since can cause the next one.
// Threads: one. Time is told.
// Source: Jacobson and Karels 1988 (AIMD); Brakmo and Peterson, TCP Vegas, 1994 (delay as evidence).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/clock.h"

namespace penstock {

class Concurrency {
 public:
  struct Options {
    uint32_t first = 4, most = 256;
    double late = 3;                                // times the best first token that tell of a queue
    Nanos slack = 50 * kMillisecond;                // beside that: noise of small times
    double after_delay = 0.8, after_refusal = 0.5;  // what is left of the limit
    Nanos memory = 120 * kSecond;                   // how long a best time holds
  };
  explicit Concurrency(Options options);

  // Of a request that was sent at `sent`, when `running` were, itself included.
  void FirstToken(Nanos sent, Nanos now, uint32_t prompt_tokens, uint32_t running);
  // The upstream said that it has too many.
  void Refused(Nanos sent, Nanos now);

  uint32_t limit() const { return static_cast<uint32_t>(limit_); }

 private:
  // The least of this period and of the one before, so that old ones are forgotten without a list.
  struct Best {
    Nanos now = 0, before = 0;  // 0: none
    Nanos since = 0;
  };
  static constexpr size_t kLengths = 24;

  Nanos BestOf(Best& best, Nanos now, Nanos took) const;
  void Cut(Nanos sent, Nanos now, double left);

  const Options options_;
  double limit_;
  bool probing_ = true;  // no decrease yet: doubling
  Nanos cut_at_ = -1;
  std::array<Best, kLengths> best_;
};

}  // namespace penstock
