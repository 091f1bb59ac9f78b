// Concurrency: how many requests an upstream is given at once, learnt from how it answers.
//
// Requests should queue in Penstock, where the queue is fair; an upstream serves its queue in order of
// arrival. So an upstream gets only as many requests as it starts at once. Additive increase, multiplicative
// decrease:
//
//   more    an answer begins, while the limit was in use
//   fewer   429 or 503; or a request waited in the upstream: its answer began only after another one had
//   ended,
//           and late: after several times what it takes at best
//
// A late answer alone does not prove a queue: a server that starts many requests at once computes all their
// prompts first. So the best time is kept by prompt length (in powers of two), and counts once for each
// request that had not started either. A delay never lowers the limit below the number of requests that
// recently ran at once. After a decrease, the limit is not raised for a while. Old measurements expire,
// because hardware changes; the number that ran at once expires sooner, so that a lasting queue does not
// become the expected state. One queue causes many late answers: after a decrease, only requests that were
// sent later can cause the next one. Threads: one. Time is passed in. Source: Jacobson and Karels 1988
// (AIMD); Brakmo and Peterson, TCP Vegas, 1994 (delay as evidence).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>

#include "base/clock.h"

namespace penstock {

class Concurrency {
 public:
  struct Options {
    uint32_t first = 4, most = 256;
    double late = 3;                                // times the best first token
    Nanos slack = 50 * kMillisecond;                // beside that: noise of small times
    double after_delay = 0.8, after_refusal = 0.5;  // what is left of the limit
    Nanos rest = 10 * kSecond;                      // after a delay: no increase for so long
    Nanos memory = 120 * kSecond;                   // how long a best time holds
    Nanos proof = 20 * kSecond;                     // and how long that so many had begun
  };
  explicit Concurrency(Options options);

  // A request whose answer begins.
  struct Beginning {
    Nanos sent = 0, now = 0;
    uint32_t prompt_tokens = 0;
    uint32_t running = 1;    // when it was sent, itself included
    uint32_t begun = 1;      // that run now and have begun, itself included
    bool room_made = false;  // one that had begun has ended since it was sent
  };
  void Begins(const Beginning& beginning);
  // The upstream refused a request because it has too many.
  void Refused(Nanos sent, Nanos now);

  uint32_t limit() const { return static_cast<uint32_t>(limit_); }

 private:
  // The best of this period and of the one before, so that old ones are forgotten without a list.
  template <class Better>
  struct Recent {
    int64_t now = 0, before = 0;  // 0: none
    Nanos since = 0;

    int64_t Note(int64_t value, Nanos at, Nanos period) {
      const auto better = [](int64_t one, int64_t other) {
        return one == 0 || (other != 0 && Better()(other, one)) ? other : one;
      };
      if (at - since > period) {
        before = at - since > 2 * period ? 0 : now;
        now = 0;
        since = at;
      }
      now = better(now, value);
      return better(now, before);
    }
  };
  static constexpr size_t kLengths = 24;

  void Cut(Nanos sent, Nanos now, double to);

  Options options_;
  double limit_;
  bool probing_ = true;  // no decrease yet: doubling
  Nanos cut_at_ = -1, rest_until_ = 0;
  std::array<Recent<std::less<>>, kLengths> best_;
  Recent<std::greater<>> proven_;
};

}  // namespace penstock
