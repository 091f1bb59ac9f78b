#include "fleet/queue/fair_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/random.h"

namespace penstock {
namespace {

constexpr Nanos kEstimate = 10 * kMillisecond;
bool Any(QueuedJob) {
  return true;
}

FairQueue::TeamView ViewOf(const FairQueue& queue, TeamKey team) {
  for (const auto& view : queue.View()) {
    if (view.team == team) return view;
  }
  return {};
}

// A chip with room for `slots` jobs that each cost what `cost(job)` says, served to the end in turn.
struct Chip {
  FairQueue& queue;
  std::function<Nanos(QueuedJob)> cost;
  size_t slots = 1;
  std::vector<QueuedJob> running = {};
  std::vector<QueuedJob> order = {};  // as started

  void Fill() {
    while (running.size() < slots) {
      const auto job = queue.Pop(Any, kEstimate);
      if (!job) return;
      running.push_back(*job);
      order.push_back(*job);
    }
  }
  bool Step() {
    Fill();
    if (running.empty()) return false;
    const QueuedJob job = running.front();
    running.erase(running.begin());
    queue.Charge(job, cost(job));
    queue.Done(job);
    return true;
  }
};

TEST(FairQueue, IsFirstInFirstOutWithinATeam) {
  FairQueue queue;
  for (QueuedJob job = 1; job <= 50; ++job) queue.Push(7, job);
  for (QueuedJob job = 1; job <= 50; ++job) EXPECT_EQ(queue.Pop(Any, kEstimate), job);
  EXPECT_EQ(queue.Pop(Any, kEstimate), std::nullopt);
}

// Two backlogged teams: the difference of their service stays below what the jobs in flight can cost,
// however long they run (VTC, theorem 4.3: independent of time).
TEST(FairQueue, BackloggedTeamsDifferByNoMoreThanTheJobsInFlight) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Random random(seed);
    FairQueue queue;
    QueuedJob next = 1;
    for (TeamKey team = 1; team <= 2; ++team) {
      for (int i = 0; i < 3000; ++i) queue.Push(team, next++);
    }
    const Nanos longest = 200 * kMillisecond;
    Chip chip{.queue = queue,
              .cost = [&](QueuedJob) { return 1 + static_cast<Nanos>(random.Below(longest)); }};
    chip.slots = 1 + random.Below(16);
    double worst = 0;
    for (int i = 0; i < 4000; ++i) {
      ASSERT_TRUE(chip.Step());
      if (ViewOf(queue, 1).waiting == 0 || ViewOf(queue, 2).waiting == 0) break;
      worst = std::max(worst, std::abs(static_cast<double>(ViewOf(queue, 1).received) -
                                       static_cast<double>(ViewOf(queue, 2).received)));
    }
    EXPECT_LE(worst, 2.0 * longest * (chip.slots + 1)) << "seed " << seed << " slots " << chip.slots;
  }
}

TEST(FairQueue, ServiceIsProportionalToWeights) {
  FairQueue queue;
  const std::vector<double> weights = {1, 2, 5};
  QueuedJob next = 1;
  for (TeamKey team = 0; team < weights.size(); ++team) {
    queue.SetWeight(team, weights[team]);
    for (int i = 0; i < 20000; ++i) queue.Push(team, next++);
  }
  Random random(3);
  Chip chip{.queue = queue, .cost = [&](QueuedJob) { return 1 + static_cast<Nanos>(random.Below(kSecond)); }};
  chip.slots = 4;
  for (int i = 0; i < 20000; ++i) ASSERT_TRUE(chip.Step());
  double all = 0;
  for (TeamKey team = 0; team < weights.size(); ++team) {
    all += static_cast<double>(ViewOf(queue, team).received);
  }
  for (TeamKey team = 0; team < weights.size(); ++team) {
    // Off by the jobs in flight only: a few of 20,000.
    EXPECT_NEAR(static_cast<double>(ViewOf(queue, team).received) / all, weights[team] / 8, 0.002);
  }
}

TEST(FairQueue, IsWorkConserving) {
  Random random(5);
  FairQueue queue;
  QueuedJob next = 1;
  size_t waiting = 0;
  for (int i = 0; i < 20000; ++i) {
    if (random.Below(2) == 0) {
      queue.Push(random.Below(9), next++);
      ++waiting;
    } else {
      const auto job = queue.Pop(Any, kEstimate);
      ASSERT_EQ(job.has_value(), waiting > 0);
      if (job) {
        --waiting;
        queue.Charge(*job, static_cast<Nanos>(random.Below(kSecond)));
        queue.Done(*job);
      }
    }
    ASSERT_EQ(queue.waiting(), waiting);
  }
}

TEST(FairQueue, ATeamWhoseHeadDoesNotFitHoldsUpNobody) {
  FairQueue queue;
  queue.Push(1, 10);
  queue.Push(1, 11);
  queue.Push(2, 20);
  const auto fits = [](QueuedJob job) { return job != 10; };
  EXPECT_EQ(queue.Pop(fits, kEstimate), 20u);
  EXPECT_EQ(queue.Pop(fits, kEstimate), std::nullopt) << "only the head of a line may go";
  EXPECT_EQ(queue.Pop(Any, kEstimate), 10u);
}

TEST(FairQueue, IdlingSavesNothingUp) {
  FairQueue queue;
  QueuedJob next = 1;
  for (int i = 0; i < 2000; ++i) queue.Push(1, next++);
  Chip chip{.queue = queue, .cost = [](QueuedJob) { return kSecond; }};
  for (int i = 0; i < 1000; ++i) chip.Step();  // team 2 idles while team 1 gets 1,000 chip seconds
  const QueuedJob first_of_two = next;
  for (int i = 0; i < 1000; ++i) queue.Push(2, next++);
  chip.order.clear();
  for (int i = 0; i < 100; ++i) chip.Step();
  const auto of_two = std::ranges::count_if(chip.order, [&](QueuedJob job) { return job >= first_of_two; });
  EXPECT_NEAR(static_cast<double>(of_two), 50, 1);
}

TEST(FairQueue, ATrickleSavesNothingUpEither) {
  FairQueue queue;
  QueuedJob next = 1;
  Chip chip{.queue = queue, .cost = [](QueuedJob job) { return job % 2 ? kSecond : kMillisecond; }};
  for (int i = 0; i < 3000; ++i) queue.Push(1, next += 1 + next % 2);  // odd: long
  for (int i = 0; i < 500; ++i) {
    next += 2 - next % 2;  // even: short
    queue.Push(2, next);
    chip.Step(), chip.Step();
  }
  // Team 2, always short of work, now floods: from here on both get the same.
  for (int i = 0; i < 600000; ++i) queue.Push(2, next += 2 - next % 2);
  const auto one = ViewOf(queue, 1).received, two = ViewOf(queue, 2).received;
  for (int i = 0; i < 100000; ++i) chip.Step();
  EXPECT_NEAR(static_cast<double>(ViewOf(queue, 1).received - one),
              static_cast<double>(ViewOf(queue, 2).received - two), 3.0 * kSecond);
}

// What was used while nobody else wanted it is not held against a team.
TEST(FairQueue, UseOfAnIdleChipIsNotHeldAgainstATeam) {
  FairQueue queue;
  QueuedJob next = 1;
  Chip chip{.queue = queue, .cost = [](QueuedJob) { return kSecond; }};
  for (int i = 0; i < 100; ++i) queue.Push(1, next++), chip.Step();  // never a line
  for (int i = 0; i < 40; ++i) queue.Push(1 + i % 2, next++);
  const auto before = ViewOf(queue, 1).received;
  for (int i = 0; i < 20; ++i) chip.Step();
  EXPECT_NEAR(static_cast<double>(ViewOf(queue, 1).received - before), 10.0 * kSecond, 1.0 * kSecond);
}

TEST(FairQueue, AFlooderCannotPushAQuietTeamsWaitBeyondOneJob) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Random random(seed);
    FairQueue queue;
    QueuedJob next = 1;
    for (int i = 0; i < 5000; ++i) queue.Push(1, next++);
    Chip chip{.queue = queue,
              .cost = [&](QueuedJob) { return 1 + static_cast<Nanos>(random.Below(kSecond)); }};
    for (int i = 0; i < 200; ++i) {
      for (uint64_t gap = 20 + random.Below(20); gap > 0; --gap) chip.Step();
      const QueuedJob quiet = next++;
      queue.Push(2, quiet);
      const size_t started = chip.order.size();
      while (std::ranges::find(chip.order, quiet) == chip.order.end()) chip.Step();
      EXPECT_LE(chip.order.size() - started, 2u)
          << "seed " << seed;  // one of the flooder, then the quiet one
    }
  }
}

TEST(FairQueue, ManyQuickJobsAreChargedTheirEstimateBeforeTheirTimeIsKnown) {
  FairQueue queue;
  for (QueuedJob job = 1; job <= 100; ++job) queue.Push(1, job), queue.Push(2, 1000 + job);
  int of_one = 0;
  for (int i = 0; i < 40; ++i) of_one += *queue.Pop(Any, kEstimate) < 1000;  // 40 slots, nothing measured yet
  EXPECT_EQ(of_one, 20);
}

TEST(FairQueue, ChargesReplaceTheEstimateExactly) {
  FairQueue queue;
  queue.SetWeight(1, 4);
  queue.Push(1, 1);
  ASSERT_EQ(queue.Pop(Any, 1000), 1u);
  EXPECT_EQ(ViewOf(queue, 1).counter, 250);
  queue.Charge(1, 600);
  EXPECT_EQ(ViewOf(queue, 1).counter, 250);
  queue.Charge(1, 600);
  EXPECT_EQ(ViewOf(queue, 1).counter, 300);
  queue.Done(1);
  EXPECT_EQ(ViewOf(queue, 1).counter, 300);
  queue.Push(1, 2);
  ASSERT_EQ(queue.Pop(Any, 1000), 2u);
  queue.Charge(2, 100);
  queue.Done(2);
  EXPECT_EQ(ViewOf(queue, 1).received, 1300u);
}

// counter × weight == received + the estimates not yet used, for a team that is never lifted.
TEST(FairQueue, AccountsAddUpWhateverHappens) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    Random random(seed);
    FairQueue queue;
    QueuedJob next = 1;
    for (TeamKey team = 1; team <= 3; ++team) queue.Push(team, next++);  // a standing head: never lifted
    std::map<QueuedJob, Nanos> estimate_left;
    std::map<QueuedJob, TeamKey> team_of = {{1, 1}, {2, 2}, {3, 3}};
    for (int i = 0; i < 2000; ++i) {
      const uint64_t dice = random.Below(10);
      if (dice < 4) {
        const TeamKey team = 1 + random.Below(3);
        team_of[next] = team;
        queue.Push(team, next++);
      } else if (dice < 6) {
        const auto view = queue.View();
        if (std::ranges::any_of(view, [](const auto& team) { return team.waiting < 2; })) continue;
        const Nanos estimate = static_cast<Nanos>(random.Below(1000));
        estimate_left[*queue.Pop(Any, estimate)] = estimate;
      } else if (!estimate_left.empty()) {
        auto victim = std::next(estimate_left.begin(), static_cast<long>(random.Below(estimate_left.size())));
        if (dice < 8) {
          const Nanos cost = static_cast<Nanos>(random.Below(500));
          queue.Charge(victim->first, cost);
          victim->second = std::max<Nanos>(0, victim->second - cost);
        } else {
          dice == 8 ? queue.Done(victim->first) : queue.PushFront(team_of[victim->first], victim->first);
          estimate_left.erase(victim);
        }
      }
      std::map<TeamKey, double> expected;
      for (const auto& [job, left] : estimate_left) expected[team_of[job]] += static_cast<double>(left);
      for (const auto& team : queue.View()) {
        ASSERT_DOUBLE_EQ(team.counter, expected[team.team] + static_cast<double>(team.received));
      }
    }
  }
}

TEST(FairQueue, AJobGivenBackGoesFirstAndKeepsItsCharges) {
  FairQueue queue;
  for (QueuedJob job = 1; job <= 3; ++job) queue.Push(1, job);
  ASSERT_EQ(queue.Pop(Any, 1000), 1u);
  queue.Charge(1, 400);
  queue.PushFront(1, 1);
  EXPECT_EQ(ViewOf(queue, 1).counter, 400);
  EXPECT_EQ(ViewOf(queue, 1).running, 0u);
  EXPECT_EQ(queue.Pop(Any, 1000), 1u);
}

TEST(FairQueue, OnlyAWaitingJobCanBeRemoved) {
  FairQueue queue;
  for (QueuedJob job = 1; job <= 3; ++job) queue.Push(1, job);
  EXPECT_TRUE(queue.Remove(1, 2));
  EXPECT_FALSE(queue.Remove(1, 2));
  EXPECT_FALSE(queue.Remove(2, 3)) << "another team's";
  EXPECT_EQ(queue.Pop(Any, 1), 1u);
  EXPECT_FALSE(queue.Remove(1, 1)) << "it runs";
  EXPECT_EQ(queue.Pop(Any, 1), 3u);
  EXPECT_EQ(queue.waiting(), 0u);
}

}  // namespace
}  // namespace penstock
