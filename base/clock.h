// Clock: time as an interface, so that the scheduler, the queue and the ledger run under simulated time.
#pragma once

#include <cstdint>

namespace penstock {

using Nanos = int64_t;  // a duration, or a point on one clock
constexpr Nanos kMicrosecond = 1'000, kMillisecond = 1'000'000, kSecond = 1'000'000'000;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual Nanos Monotonic() const = 0;  // never goes back; its zero has no meaning
  virtual Nanos Wall() const = 0;       // since the Unix epoch, UTC
};

// The machine's clocks. Threads: any.
const Clock& SystemClock();

// For tests and simulations: moves only on request. Threads: one.
class ManualClock final : public Clock {
 public:
  Nanos Monotonic() const override { return now_; }
  Nanos Wall() const override { return kEpoch + now_; }
  void Advance(Nanos by) { now_ += by; }

 private:
  static constexpr Nanos kEpoch = 1'700'000'000 * kSecond;
  Nanos now_ = 0;
};

}  // namespace penstock
