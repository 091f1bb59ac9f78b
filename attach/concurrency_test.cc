#include "attach/concurrency.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <queue>
#include <vector>

namespace penstock {
namespace {

// An upstream of so many slots: what is beyond them waits in it, or is refused.
struct Upstream {
  size_t slots = 8;
  bool refuses = false;
  Nanos prefill = 100 * kMillisecond, answer = 900 * kMillisecond;
  bool shared = false;  // prompts are computed one after another, though all answers come at once
};

// Keeps it as busy as the limit allows for so long; returns the limits that held.
std::vector<uint32_t> KeepBusy(Concurrency& concurrency, const Upstream& upstream, Nanos duration,
                               Nanos start = 0) {
  struct Turn {
    Nanos at;
    bool first;  // the first token, else the end
    Nanos sent;
    uint32_t running, ended;
    bool operator>(const Turn& other) const { return at > other.at; }
  };
  std::priority_queue<Turn, std::vector<Turn>, std::greater<>> turns;
  std::vector<Nanos> free_at(upstream.slots, start);
  uint32_t running = 0, begun = 0, ended = 0;
  Nanos prompts_until = start;
  std::vector<uint32_t> limits;
  Nanos now = start;
  while (now < start + duration) {
    while (running < concurrency.limit()) {
      const auto slot = std::ranges::min_element(free_at);
      if (upstream.refuses && *slot > now) {
        concurrency.Refused(now, now);
        break;
      }
      ++running;
      const Nanos begins = std::max({*slot, now, upstream.shared ? prompts_until : 0});
      prompts_until = begins + upstream.prefill;
      *slot = prompts_until + upstream.answer;
      turns.push({prompts_until, true, now, running, ended});
      turns.push({*slot, false, now, 0, 0});
    }
    const Turn turn = turns.top();
    turns.pop();
    now = turn.at;
    if (turn.first) {
      concurrency.Begins({.sent = turn.sent,
                          .now = now,
                          .prompt_tokens = 100,
                          .running = turn.running,
                          .begun = ++begun,
                          .room_made = ended > turn.ended});
    } else {
      --running;
      --begun;
      ++ended;
    }
    limits.push_back(concurrency.limit());
  }
  return limits;
}

double LateMean(const std::vector<uint32_t>& limits) {
  double sum = 0;
  for (size_t i = limits.size() / 2; i < limits.size(); ++i) sum += limits[i];
  return sum / static_cast<double>(limits.size() - limits.size() / 2);
}

TEST(Concurrency, FindsTheSlotsOfAnUpstreamThatQueues) {
  for (const size_t slots : {1U, 4U, 16U, 64U}) {
    Concurrency concurrency({});
    const double mean = LateMean(KeepBusy(concurrency, {.slots = slots}, 400 * kSecond));
    EXPECT_GE(mean, static_cast<double>(slots)) << slots;
    EXPECT_LE(mean, 1.1 * static_cast<double>(slots) + 0.2) << slots;
  }
}

TEST(Concurrency, ManyPromptsAtOnceAreNoQueue) {
  Concurrency concurrency({.most = 16});
  const Upstream upstream{.slots = 64, .prefill = 100 * kMillisecond, .answer = 3 * kSecond, .shared = true};
  const auto limits = KeepBusy(concurrency, upstream, 100 * kSecond);
  EXPECT_TRUE(std::ranges::is_sorted(limits)) << "it never fell";
  EXPECT_EQ(limits.back(), 16U);
}

TEST(Concurrency, AServerThatAnswersShortlyIsKeptBusy) {
  for (const size_t slots : {2U, 4U, 8U}) {
    Concurrency concurrency({});
    const Upstream upstream{
        .slots = slots, .prefill = 20 * kMillisecond, .answer = 150 * kMillisecond, .shared = true};
    const auto limits = KeepBusy(concurrency, upstream, 100 * kSecond);
    EXPECT_GE(std::ranges::min(limits), std::min<size_t>(slots, 4)) << slots;
    EXPECT_GE(LateMean(limits), static_cast<double>(slots)) << slots;
  }
}

TEST(Concurrency, FindsTheSlotsOfAnUpstreamThatRefuses) {
  Concurrency concurrency({});
  const double mean = LateMean(KeepBusy(concurrency, {.slots = 16, .refuses = true}, 400 * kSecond));
  EXPECT_GE(mean, 8);
  EXPECT_LE(mean, 18);
}

TEST(Concurrency, FollowsAnUpstreamThatShrinksAndGrows) {
  Concurrency concurrency({});
  KeepBusy(concurrency, {.slots = 32}, 200 * kSecond);
  EXPECT_LE(LateMean(KeepBusy(concurrency, {.slots = 4}, 400 * kSecond, 200 * kSecond)), 5);
  EXPECT_GE(LateMean(KeepBusy(concurrency, {.slots = 32}, 1200 * kSecond, 600 * kSecond)), 20);
}

TEST(Concurrency, AnUnusedLimitStaysWhereItIs) {
  Concurrency concurrency({.first = 4});
  for (int i = 1; i < 100; ++i)
    concurrency.Begins({.sent = i * kSecond, .now = i * kSecond + kMillisecond, .prompt_tokens = 10});
  EXPECT_EQ(concurrency.limit(), 4U);
}

TEST(Concurrency, OneQueueIsOneDecreaseHoweverManyWaitedInIt) {
  Concurrency concurrency({.first = 100});
  for (int i = 0; i < 50; ++i) concurrency.Refused(kSecond, kSecond + i);
  EXPECT_EQ(concurrency.limit(), 50U);
}

TEST(Concurrency, ALongPromptIsNoSignOfAQueue) {
  Concurrency concurrency({.first = 8});
  concurrency.Begins({.now = 10 * kMillisecond, .prompt_tokens = 10});
  concurrency.Begins({.now = 10 * kSecond, .prompt_tokens = 10'000, .room_made = true});
  EXPECT_EQ(concurrency.limit(), 8U);
}

TEST(Concurrency, OneAlwaysRuns) {
  Concurrency concurrency({.first = 2});
  for (int i = 1; i < 50; ++i) concurrency.Refused(i * kSecond, i * kSecond);
  EXPECT_EQ(concurrency.limit(), 1U);
}

}  // namespace
}  // namespace penstock
