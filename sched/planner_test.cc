#include "sched/planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "base/random.h"

namespace penstock {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

PlanDecision Decide(const std::vector<RunningView>& running, const std::vector<WaitingView>& waiting,
                    int32_t pages, PlanLimits limits = {}) {
  return DecideStep({.running = running, .waiting = waiting, .available_pages = pages}, limits);
}

std::vector<std::pair<SequenceId, int32_t>> Work(const PlanDecision& decision) {
  std::vector<std::pair<SequenceId, int32_t>> work;
  for (const auto& share : decision.work) work.emplace_back(share.id, share.tokens);
  return work;
}

using Shares = std::vector<std::pair<SequenceId, int32_t>>;

TEST(Planner, ChunkedPrefillNeverStallsRunningStreams) {
  const auto decision =
      Decide({{.id = 1, .remaining = 1000}, {.id = 2, .remaining = 1}, {.id = 3, .remaining = 1}},
             {{.id = 4, .remaining = 500, .pages_needed = 1}}, 100, {.step_tokens = 64});
  EXPECT_EQ(Work(decision), (Shares{{2, 1}, {3, 1}, {1, 62}}));
}

TEST(Planner, PromptsGetAQuarterEvenWhenStreamsFillTheStep) {
  std::vector<RunningView> running;
  for (SequenceId id = 1; id <= 100; ++id) running.push_back({.id = id, .remaining = 1});
  running.push_back({.id = 200, .remaining = 1000});
  const auto decision = Decide(running, {}, 100, {.step_tokens = 64});
  ASSERT_EQ(decision.work.size(), 101U);
  EXPECT_EQ(decision.work.back().tokens, 16);
}

TEST(Planner, TheYoungestGivesWayWhenPagesRunOut) {
  const auto decision = Decide({{.id = 1, .remaining = 1, .needs_page = true, .held_pages = 2},
                                {.id = 2, .remaining = 1, .held_pages = 2},
                                {.id = 3, .remaining = 1, .held_pages = 2}},
                               {}, 0);
  EXPECT_THAT(decision.preempt, ElementsAre(3));
  EXPECT_EQ(Work(decision), (Shares{{1, 1}, {2, 1}}));
}

TEST(Planner, WhoIsYoungestGivesWayItself) {
  const auto decision = Decide({{.id = 1, .remaining = 1, .held_pages = 2},
                                {.id = 2, .remaining = 1, .needs_page = true, .held_pages = 2}},
                               {}, 0);
  EXPECT_THAT(decision.preempt, ElementsAre(2));
  EXPECT_EQ(Work(decision), (Shares{{1, 1}}));
}

TEST(Planner, ThoseWhoWaitForTheirReadersGiveWayFirst) {
  const auto decision = Decide({{.id = 1, .remaining = 1, .starved = true, .held_pages = 2},
                                {.id = 2, .remaining = 1, .needs_page = true, .held_pages = 2},
                                {.id = 3, .remaining = 1, .held_pages = 2}},
                               {}, 0);
  EXPECT_THAT(decision.preempt, ElementsAre(1));
  EXPECT_EQ(Work(decision), (Shares{{2, 1}, {3, 1}}));
}

TEST(Planner, StarvedSequencesDoNotWork) {
  EXPECT_THAT(Decide({{.id = 1, .remaining = 1, .starved = true}}, {}, 10).work, IsEmpty());
}

TEST(Planner, NobodyOvertakesAWaitingSequenceThatDoesNotFit) {
  const auto decision = Decide(
      {{.id = 1, .remaining = 1}},
      {{.id = 2, .remaining = 100, .pages_needed = 7}, {.id = 3, .remaining = 1, .pages_needed = 1}}, 5);
  EXPECT_THAT(decision.admit, IsEmpty());
}

TEST(Planner, AdmissionLeavesAPageOfGrowthToEachThatRuns) {
  const std::vector<RunningView> running = {{.id = 1, .remaining = 1}, {.id = 2, .remaining = 1}};
  const std::vector<WaitingView> waiting = {{.id = 3, .remaining = 50, .pages_needed = 4}};
  EXPECT_THAT(Decide(running, waiting, 5).admit, IsEmpty());
  EXPECT_THAT(Decide(running, waiting, 6).admit, ElementsAre(3));
  EXPECT_THAT(Decide({}, waiting, 4).admit, ElementsAre(3));  // a single sequence may take all pages
}

TEST(Planner, NobodyIsAdmittedInTheStepThatPreempts) {
  const auto decision = Decide({{.id = 1, .remaining = 1, .needs_page = true, .held_pages = 1},
                                {.id = 2, .remaining = 1, .held_pages = 50}},
                               {{.id = 3, .remaining = 1, .pages_needed = 1}}, 0);
  EXPECT_THAT(decision.preempt, ElementsAre(2));
  EXPECT_THAT(decision.admit, IsEmpty());
}

TEST(Planner, SlowReadersMakeRoomForNewcomers) {
  const std::vector<RunningView> running = {{.id = 1, .remaining = 1, .starved = true, .held_pages = 6},
                                            {.id = 2, .remaining = 1, .starved = true, .held_pages = 4}};
  const std::vector<WaitingView> waiting = {{.id = 3, .remaining = 20, .pages_needed = 4}};
  EXPECT_THAT(Decide(running, waiting, 0).preempt, ElementsAre(2));
  EXPECT_THAT(Decide(running, waiting, 0).admit, ElementsAre(3));
  EXPECT_THAT(Decide(running, waiting, 100, {.free_slots = 0}).preempt, ElementsAre(2));
  EXPECT_THAT(Decide(running, waiting, 100, {.free_slots = 0}).admit, ElementsAre(3));
  EXPECT_THAT(Decide(running, waiting, 4).preempt, IsEmpty());
}

TEST(Planner, AdmissionStopsWithTheBudgetAndTheSlots) {
  std::vector<WaitingView> waiting;
  for (SequenceId id = 1; id <= 10; ++id) waiting.push_back({.id = id, .remaining = 30, .pages_needed = 2});
  EXPECT_EQ(Work(Decide({}, waiting, 1000, {.step_tokens = 64})), (Shares{{1, 30}, {2, 30}, {3, 4}}));
  EXPECT_EQ(Decide({}, waiting, 1000, {.step_tokens = 1000, .free_slots = 2}).admit.size(), 2U);
}

TEST(Planner, HoldsItsInvariantsOnAnyInput) {
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    Random random(seed);
    std::vector<RunningView> running;
    std::vector<WaitingView> waiting;
    SequenceId id = 0;
    for (uint64_t i = random.Below(20); i > 0; --i) {
      const int32_t remaining = random.Below(2) == 0 ? 1 : static_cast<int32_t>(1 + random.Below(300));
      running.push_back({.id = ++id,
                         .remaining = remaining,
                         .needs_page = remaining == 1 && random.Below(3) == 0,
                         .starved = random.Below(5) == 0,
                         .held_pages = static_cast<int32_t>(random.Below(10))});
    }
    for (uint64_t i = random.Below(10); i > 0; --i) {
      waiting.push_back({.id = ++id,
                         .remaining = static_cast<int32_t>(1 + random.Below(300)),
                         .pages_needed = static_cast<int32_t>(random.Below(20))});
    }
    const auto pages = static_cast<int32_t>(random.Below(30));
    const PlanLimits limits{.step_tokens = static_cast<int32_t>(1 + random.Below(200)),
                            .free_slots = static_cast<int32_t>(random.Below(8))};
    const PlanDecision decision = Decide(running, waiting, pages, limits);

    int32_t left = pages, prompt_tokens = 0;
    std::set<SequenceId> preempted(decision.preempt.begin(), decision.preempt.end()), worked;
    EXPECT_EQ(preempted.size(), decision.preempt.size());
    for (const RunningView& view : running) left += preempted.contains(view.id) ? view.held_pages : 0;
    for (const auto& share : decision.work) {
      EXPECT_TRUE(worked.insert(share.id).second) << "twice in one step";
      EXPECT_FALSE(preempted.contains(share.id));
      EXPECT_GE(share.tokens, 1);
      if (share.id <= running.size()) {
        const RunningView& view = running[share.id - 1];
        EXPECT_FALSE(view.starved);
        EXPECT_LE(share.tokens, view.remaining);
        left -= view.needs_page ? 1 : 0;
        prompt_tokens += view.remaining > 1 ? share.tokens : 0;
      } else {
        const WaitingView& view = waiting[share.id - running.size() - 1];
        left -= view.pages_needed;
        prompt_tokens += share.tokens;
      }
    }
    EXPECT_GE(left, 0) << "seed " << seed;
    EXPECT_LE(prompt_tokens, limits.step_tokens);
    // The oldest that may work is never preempted for a younger one, and works if any page is available.
    for (const RunningView& view : running) {
      if (view.starved) continue;
      if (view.remaining == 1 && !view.needs_page) {
        EXPECT_TRUE(worked.contains(view.id) || preempted.contains(view.id)) << "seed " << seed;
      }
      if (preempted.contains(view.id)) {
        for (const RunningView& younger : running) {
          if (younger.id > view.id && !younger.starved) {
            EXPECT_TRUE(preempted.contains(younger.id)) << "seed " << seed;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace penstock
