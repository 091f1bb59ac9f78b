// What models that share one KV budget promise each other, shown by a runner that notices every wrong page.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/random.h"
#include "runner/fake.h"
#include "sched/scheduler.h"

namespace penstock {
namespace {

constexpr int64_t kKb = 1 << 10;

// Several on-demand models under one scheduler, and who still wants how many tokens.
class World {
 public:
  World(int64_t budget, const std::vector<int64_t>& page_bytes, SchedulerOptions options = {})
      : scheduler(options), runner_(MakeFakeRunner()) {
    for (const int64_t bytes : page_bytes) {
      models.push_back(
          *runner_->Load({.path = fmt::format("fake:m{}?on_demand=1&pages=400&context=2000&page_bytes={}",
                                              models.size(), bytes)}));
      scheduler.AddModel(models.back());
    }
    SetBudget(budget);
  }

  void SetBudget(int64_t budget) {
    budget_ = budget;
    scheduler.SetKvBudget(budget);
  }

  SequenceId Add(size_t model, size_t prompt, int64_t tokens, uint64_t seed = 1, int64_t credits = -1) {
    Random random(seed);
    std::vector<Token> text(prompt);
    for (Token& token : text) token = static_cast<Token>(random.Below(1000));
    const auto id = scheduler.Add({.model = models[model].id,
                                   .prompt = std::move(text),
                                   .max_tokens = tokens,
                                   .sampling = {},
                                   .prefix_scope = "team",
                                   .credits = credits});
    EXPECT_TRUE(id) << id.error().message;
    wanted_[*id] = tokens;
    return *id;
  }

  bool Step() {
    auto plan = scheduler.Next();
    scheduler.CheckIntegrity();
    EXPECT_LE(Held(), budget_);
    for (const auto& [id, turn] : scheduler.TakeTurns()) ++turns[turn];
    if (!plan) return false;
    freed += plan->freed.size();
    Result<StepResult> result;
    runner_->Submit(*std::move(plan), [&](Result<StepResult> done) { result = std::move(done); });
    EXPECT_TRUE(result) << result.error().message;
    result->chip_time = 1000;
    EXPECT_TRUE(scheduler.Commit(*result));
    for (const Sampled& sampled : result->sampled) {
      said[sampled.sequence].push_back(sampled.token);
      if (static_cast<int64_t>(said[sampled.sequence].size()) == wanted_[sampled.sequence])
        Finish(sampled.sequence);
    }
    scheduler.CheckIntegrity();
    return true;
  }
  void Finish(SequenceId id) {
    if (wanted_.erase(id) == 1) scheduler.Finish(id);
  }
  bool open(SequenceId id) const { return wanted_.contains(id); }
  bool idle() const { return wanted_.empty(); }
  const std::map<SequenceId, int64_t>& wanted() const { return wanted_; }
  int64_t Held() const { return scheduler.HeldBytes(); }
  // Until nothing is left to do; the steps that it took.
  int Run(int most = 100'000) {
    int steps = 0;
    while (steps < most && Step()) ++steps;
    return steps;
  }

  Scheduler scheduler;
  std::vector<LoadedModel> models;
  std::map<SequenceId, std::vector<Token>> said;
  std::map<Turn, int> turns;
  size_t freed = 0;

 private:
  std::unique_ptr<Runner> runner_;
  std::map<SequenceId, int64_t> wanted_;
  int64_t budget_ = 0;
};

TEST(SharedMemory, OneModelMayUseWhatTheOthersDoNotNeed) {
  World world(64 * kKb, std::vector<int64_t>(24, kKb));  // 2⅔ pages each, 64 in all
  const SequenceId id = world.Add(5, 900, 60);
  world.Run();
  EXPECT_FALSE(world.open(id));
  EXPECT_EQ(world.turns[Turn::kPreempted], 0);
}

TEST(SharedMemory, CachedPagesOfAnyModelAreEvictedForWhoeverNeedsMemory) {
  World world(64 * kKb, {kKb, 4 * kKb});
  world.Add(0, 640, 2);
  world.Run();
  EXPECT_GE(world.Held(), 39 * kKb) << "the prefix cache keeps it";
  world.Add(1, 200, 2);  // 13 pages of 4 KB
  world.Run();
  EXPECT_TRUE(world.idle());
  EXPECT_LE(world.Held(), 64 * kKb);
  EXPECT_GT(world.freed, 20U);
}

TEST(SharedMemory, ASequenceIsTheSameWhoeverShareItsMemory) {
  std::map<SequenceId, std::vector<Token>> alone;
  for (uint64_t i = 0; i < 12; ++i) {
    World world(1000 * kKb, {kKb});
    alone[i + 1] = (world.Add(0, 20 + i * 9, 40, i + 1), world.Run(), world.said.begin()->second);
  }
  World world(40 * kKb, {kKb, 2 * kKb, 3 * kKb});
  for (uint64_t i = 0; i < 12; ++i) world.Add(i % 3, 20 + i * 9, 40, i + 1);
  world.Run();
  EXPECT_TRUE(world.idle());
  EXPECT_GT(world.turns[Turn::kPreempted], 0);
  EXPECT_EQ(world.said, alone);
}

TEST(SharedMemory, AModelIsNotStarvedByOneThatHoldsEverything) {
  World world(64 * kKb, {kKb, kKb}, {.max_sequences = 16});
  std::vector<SequenceId> busy;
  for (uint64_t i = 0; i < 8; ++i) busy.push_back(world.Add(0, 100, 900, i + 1));
  for (int i = 0; i < 50; ++i) world.Step();
  const SequenceId late = world.Add(1, 160, 20, 99);
  int steps = 0;
  while (world.open(late) && ++steps < 3000) ASSERT_TRUE(world.Step());
  EXPECT_FALSE(world.open(late));
  EXPECT_LT(steps, 200) << "within what the others need to decode a page or two";
  world.Run();
  EXPECT_TRUE(world.idle());
}

TEST(SharedMemory, AnswersThatNobodyReadsGiveWayToOtherModels) {
  World world(64 * kKb, {kKb, kKb});
  const SequenceId unread = world.Add(0, 600, 300, 1, /*credits=*/5);
  while (world.Step()) {
  }
  ASSERT_TRUE(world.open(unread));
  const SequenceId other = world.Add(1, 900, 10, 2);
  world.Run();
  EXPECT_FALSE(world.open(other));
  EXPECT_EQ(world.turns[Turn::kPreempted], 1);
  world.scheduler.Grant(unread, 1000);
  world.Run();
  EXPECT_TRUE(world.idle());
}

TEST(SharedMemory, AShrinkingBudgetPausesTheYoungestAndFreesPagesThoughNothingRuns) {
  World world(100 * kKb, {kKb, kKb});
  world.Add(0, 640, 2, 1);
  world.Run();
  EXPECT_GE(world.Held(), 39 * kKb);
  world.SetBudget(30 * kKb);
  const size_t before = world.freed;
  EXPECT_TRUE(world.Step()) << "a step that only gives memory back";
  EXPECT_LE(world.Held(), 30 * kKb);
  EXPECT_GE(world.freed - before, 9U);
  EXPECT_FALSE(world.Step());

  world.SetBudget(100 * kKb);
  const SequenceId old = world.Add(0, 300, 60, 2), young = world.Add(1, 300, 60, 3);
  world.Step();
  world.Step();
  world.SetBudget(26 * kKb);
  world.Step();
  EXPECT_EQ(world.turns[Turn::kPreempted], 1);
  EXPECT_FALSE(world.scheduler.Find(old)->pages.empty());
  EXPECT_TRUE(world.scheduler.Find(young)->pages.empty());
  world.Run();
  EXPECT_TRUE(world.idle());
}

TEST(SharedMemory, WhatCanNeverFitTheBudgetIsRefused) {
  World world(8 * kKb, {kKb});
  const auto refused = world.scheduler.Add({.model = world.models[0].id,
                                            .prompt = std::vector<Token>(100, 1),
                                            .max_tokens = 100,
                                            .sampling = {},
                                            .prefix_scope = ""});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kTooLarge);
}

// Models with pages of all sizes, long and short texts, readers that stop, budgets that shrink and grow: the
// budget holds after every step, no step reads a wrong page, and every sequence ends.
TEST(SharedMemory, EverySequenceEndsInRandomSchedules) {
  for (uint64_t seed = 1; seed <= 150; ++seed) {
    Random random(seed);
    std::vector<int64_t> pages;
    for (uint64_t i = 0; i < 2 + random.Below(5); ++i)
      pages.push_back((1 + static_cast<int64_t>(random.Below(5))) * kKb);
    const int64_t least = 30 * 5 * kKb;  // the longest text, in pages of the largest kind
    World world(least * 2, pages, {.max_sequences = 8, .step_tokens = 64});
    std::set<SequenceId> unread;
    for (int i = 0; i < 400; ++i) {
      if (random.Below(6) == 0) {
        const int64_t credits = random.Below(3) == 0 ? 1 + static_cast<int64_t>(random.Below(20)) : -1;
        const SequenceId id =
            world.Add(random.Below(pages.size()), 1 + random.Below(350),
                      1 + static_cast<int64_t>(random.Below(100)), random.Below(20), credits);
        if (credits > 0) unread.insert(id);
      }
      if (random.Below(40) == 0) world.SetBudget(least + static_cast<int64_t>(random.Below(2 * 150)) * kKb);
      if (random.Below(30) == 0 && !world.wanted().empty()) world.Finish(world.wanted().begin()->first);
      world.Step();
      if (HasFailure()) FAIL() << "seed " << seed << ", step " << i;
    }
    for (const SequenceId id : unread) world.scheduler.Grant(id, 1000);
    const int steps = world.Run(20'000);
    ASSERT_TRUE(world.idle()) << "seed " << seed << ": " << world.wanted().size() << " wait for ever after "
                              << steps;
  }
}

}  // namespace
}  // namespace penstock
