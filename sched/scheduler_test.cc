// The scheduler's contract, tested with a runner that detects every wrong page (runner/fake.h).
#include "sched/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "base/random.h"
#include "runner/fake.h"

namespace penstock {
namespace {

using ::testing::HasSubstr;

// A scheduler, a fake runner and an engine's bookkeeping: how many tokens each sequence still needs.
class Bench {
 public:
  explicit Bench(SchedulerOptions options = {}, const std::string& path = "fake:m", FakeOptions fake = {})
      : scheduler(options), runner_(MakeFakeRunner(fake)), model(*runner_->Load({.path = path})) {
    scheduler.AddModel(model);
  }

  SequenceId Add(NewSequence sequence) {
    sequence.model = model.id;
    const int64_t wanted = sequence.max_tokens;
    const auto id = scheduler.Add(std::move(sequence));
    EXPECT_TRUE(id) << id.error().message;
    wanted_[*id] = wanted;
    return *id;
  }
  SequenceId Add(std::vector<Token> prompt, int64_t tokens, std::string scope = "team") {
    return Add({.prompt = std::move(prompt),
                .max_tokens = tokens,
                .sampling = {},
                .prefix_scope = std::move(scope)});
  }

  // Runs one step; false if there was nothing to do. Finishes sequences that have all their tokens.
  bool Step() {
    auto plan = scheduler.Next();
    scheduler.CheckIntegrity();
    for (const auto& [id, turn] : scheduler.TakeTurns()) ++turns[turn];
    if (!plan) return false;
    for (const auto& step : plan->work) last_tokens[step.sequence] = static_cast<int32_t>(step.tokens.size());
    ++steps;
    Result<StepResult> result;
    runner_->Submit(*std::move(plan), [&](Result<StepResult> done) { result = std::move(done); });
    if (!result) {
      if (fail_is_fatal) ADD_FAILURE() << result.error().message;
      std::vector<SequenceId> lost;
      for (const auto& work : scheduler.work()) lost.push_back(work.id);
      scheduler.Abort();
      for (SequenceId id : lost) Cancel(id);
      return true;
    }
    const Status committed = scheduler.Commit(*result);
    EXPECT_TRUE(committed) << committed.error().message;
    for (const Sampled& sampled : result->sampled) {
      auto& tokens = said[sampled.sequence];
      tokens.push_back(sampled.token);
      if (static_cast<int64_t>(tokens.size()) == wanted_[sampled.sequence]) Cancel(sampled.sequence);
    }
    scheduler.CheckIntegrity();
    return true;
  }
  void Run() {
    while (Step()) {
    }
  }
  void Cancel(SequenceId id) {
    if (wanted_.erase(id) == 1) scheduler.Finish(id);
  }
  bool IsOpen(SequenceId id) const { return wanted_.contains(id); }
  Runner& runner() { return *runner_; }

  Scheduler scheduler;
  std::map<SequenceId, std::vector<Token>> said;
  std::map<SequenceId, int32_t> last_tokens;
  std::map<Turn, int> turns;
  int steps = 0;
  bool fail_is_fatal = true;

 private:
  std::unique_ptr<Runner> runner_;
  std::map<SequenceId, int64_t> wanted_;

 public:
  LoadedModel model;
};

std::vector<Token> Prompt(uint64_t seed, size_t tokens) {
  Random random(seed);
  std::vector<Token> prompt(tokens);
  for (Token& token : prompt) token = static_cast<Token>(random.Below(1000));
  return prompt;
}

std::vector<Token> Alone(const std::vector<Token>& prompt, int64_t tokens, const Sampling& sampling = {}) {
  Bench bench({.max_sequences = 1, .step_tokens = 10'000, .prefix_cache = false},
              fmt::format("fake:m?pages={}",
                          PagesFor(static_cast<int32_t>(prompt.size()) + static_cast<int32_t>(tokens))));
  const SequenceId id =
      bench.Add({.prompt = prompt, .max_tokens = tokens, .sampling = sampling, .prefix_scope = ""});
  bench.Run();
  return bench.said[id];
}

TEST(Scheduler, BatchEqualsAloneHoweverPromptsAreChunked) {
  for (int32_t step_tokens : {1, 7, 16, 64, 4096}) {
    Bench bench({.max_sequences = 16, .step_tokens = step_tokens});
    std::vector<SequenceId> ids;
    for (uint64_t i = 0; i < 16; ++i) ids.push_back(bench.Add(Prompt(i, 3 + 11 * i), 30));
    bench.Run();
    for (uint64_t i = 0; i < 16; ++i) EXPECT_EQ(bench.said[ids[i]], Alone(Prompt(i, 3 + 11 * i), 30));
  }
}

TEST(Scheduler, PreemptedEqualsNotPreempted) {
  for (bool cache : {true, false}) {
    for (int aside : {0, 9, 100}) {
      Bench bench({.prefix_cache = cache}, fmt::format("fake:m?pages=14&aside={}", aside));
      std::vector<SequenceId> ids;
      for (uint64_t i = 0; i < 8; ++i) ids.push_back(bench.Add(Prompt(i, 10), 150));
      bench.Run();
      const SchedulerStats stats = bench.scheduler.Stats();
      EXPECT_GT(stats.preemptions, 5U);
      EXPECT_EQ(stats.restored_tokens > 0, aside > 0);
      for (uint64_t i = 0; i < 8; ++i) EXPECT_EQ(bench.said[ids[i]], Alone(Prompt(i, 10), 150));
      if (aside == 100) EXPECT_EQ(stats.computed_tokens, 8U * 159) << "nothing is computed twice";
    }
  }
}

TEST(Scheduler, WhatIsAsideOfACancelledSequenceIsDropped) {
  Bench bench({}, "fake:m?pages=14&aside=100");
  std::vector<SequenceId> ids;
  for (uint64_t i = 0; i < 8; ++i) ids.push_back(bench.Add(Prompt(i, 10), 150));
  const auto aside = [&](SequenceId id) { return bench.IsOpen(id) && bench.scheduler.Find(id)->saved > 0; };
  while (!std::ranges::any_of(ids, aside)) ASSERT_TRUE(bench.Step());
  const auto paused = std::ranges::find_if(ids, aside) - ids.begin();
  bench.Cancel(ids[static_cast<size_t>(paused)]);
  bench.scheduler.CheckIntegrity();  // counts saved state too
  bench.Run();
  for (uint64_t i = 0; i < 8; ++i) {
    if (static_cast<ptrdiff_t>(i) != paused) EXPECT_EQ(bench.said[ids[i]], Alone(Prompt(i, 10), 150));
  }
}

// A sequence moves from one engine to another.
SequenceId Move(Bench& from, SequenceId id, Bench& to, int64_t wanted) {
  const Sequence sequence = *from.scheduler.Find(id);
  const auto state = from.runner().TakeState(from.model.id, id, sequence.computed, sequence.pages);
  const auto generated = static_cast<int32_t>(from.said[id].size());
  const SequenceId there = to.Add({.prompt = sequence.tokens,
                                   .generated = generated,
                                   .max_tokens = wanted - generated,
                                   .sampling = {},
                                   .prefix_scope = "team"});
  const auto text = std::span(sequence.tokens).first(static_cast<size_t>(sequence.computed));
  EXPECT_TRUE(to.runner().GiveState(to.model.id, there, text, *state));
  to.scheduler.PutAside(there, sequence.computed);
  from.Cancel(id);
  return there;
}

TEST(Scheduler, AMovedSequenceGoesOnFromWhatWasComputedElsewhere) {
  for (const int steps : {1, 3, 12, 20}) {  // in the prompt, and in the answer
    Bench from({.step_tokens = 20}), to({}, "fake:m?pages=8");
    const SequenceId id = from.Add(Prompt(1, 50), 40);
    const SequenceId other = to.Add(Prompt(2, 10), 60);
    for (int i = 0; i < steps; ++i) from.Step();
    to.Step();
    const SequenceId there = Move(from, id, to, 40);
    to.Run();  // with eight pages they preempt each other
    std::vector<Token> said = from.said[id];
    said.insert(said.end(), to.said[there].begin(), to.said[there].end());
    EXPECT_EQ(said, Alone(Prompt(1, 50), 40));
    EXPECT_EQ(to.said[other], Alone(Prompt(2, 10), 60));
    EXPECT_GE(to.scheduler.Stats().restored_tokens, from.scheduler.Stats().computed_tokens);
    EXPECT_EQ(from.scheduler.Stats().free_pages, static_cast<uint32_t>(from.model.pages));
  }
}

TEST(Scheduler, WhatAnotherEngineComputedIsSharedWithNobody) {
  Bench from, to;
  const SequenceId id = from.Add(Prompt(1, 50), 40);
  for (int i = 0; i < 5; ++i) from.Step();
  Move(from, id, to, 40);
  to.Run();
  to.Add(Prompt(1, 50), 5);
  to.Run();
  EXPECT_EQ(to.scheduler.Stats().prefix_hit_tokens, 0U);
}

TEST(Scheduler, WhatCameOfASequenceThatEndsBeforeItsTurnIsDropped) {
  Bench from, to;
  const SequenceId id = from.Add(Prompt(1, 50), 40);
  for (int i = 0; i < 5; ++i) from.Step();
  const SequenceId there = Move(from, id, to, 40);
  to.Cancel(there);
  to.scheduler.CheckIntegrity();
  to.Add(Prompt(2, 10), 5);
  const auto plan = to.scheduler.Next();
  ASSERT_TRUE(plan);
  EXPECT_TRUE(std::ranges::any_of(plan->ops, [&](const SequenceOp& op) {
    return op.kind == SequenceOp::Kind::kDrop && op.from == there;
  }));
}

TEST(Scheduler, PrefixCacheSparesWorkAndChangesNothing) {
  Bench bench;
  auto long_prompt = Prompt(1, 200);
  const SequenceId first = bench.Add(long_prompt, 20);
  bench.Run();
  // The conversation continues: prompt and answer are both in the prefix cache.
  auto second_prompt = long_prompt;
  second_prompt.insert(second_prompt.end(), bench.said[first].begin(), bench.said[first].end());
  second_prompt.push_back(3);
  const SequenceId second = bench.Add(second_prompt, 20);
  EXPECT_TRUE(bench.Step());
  EXPECT_EQ(bench.scheduler.Find(second)->cached_tokens, 208);
  EXPECT_EQ(bench.last_tokens[second], 221 - 208);
  bench.Run();
  EXPECT_EQ(bench.said[second], Alone(second_prompt, 20));
  EXPECT_EQ(bench.scheduler.Stats().prefix_hit_tokens, 208U);
}

TEST(Scheduler, AnotherScopeComputesItsOwn) {
  Bench bench;
  bench.Add(Prompt(1, 100), 1, "a");
  bench.Run();
  const SequenceId other = bench.Add(Prompt(1, 100), 1, "b"), none = bench.Add(Prompt(1, 100), 1, "");
  bench.Run();
  EXPECT_EQ(bench.said[other], bench.said[none]);
  EXPECT_EQ(bench.scheduler.Stats().prefix_hit_tokens, 0U);
}

TEST(Scheduler, EveryRecycledPageIsZeroedBeforeItsNewOwnerWrites) {
  // The runner reports an error when it is not; nothing is cached, so every page is recycled.
  Bench bench({.prefix_cache = false}, "fake:m?pages=8");
  for (uint64_t i = 0; i < 20; ++i) bench.Add(Prompt(i, 30), 40);
  bench.Run();
  EXPECT_EQ(bench.said.size(), 20U);
}

TEST(Scheduler, CancelFreesEverythingAtAnyMoment) {
  for (int steps = 0; steps < 12; ++steps) {
    Bench bench({.step_tokens = 16, .prefix_cache = false}, "fake:m?pages=64");
    const SequenceId lead = bench.Add(Prompt(1, 50), 30);
    const SequenceId sibling = bench.Add(
        {.prompt = Prompt(1, 50), .max_tokens = 30, .sampling = {}, .prefix_scope = "", .lead = lead});
    for (int i = 0; i < steps; ++i) bench.Step();
    bench.Cancel(lead);
    bench.Step();  // the sibling continues without it
    bench.Cancel(sibling);
    EXPECT_FALSE(bench.Step());
    EXPECT_EQ(bench.scheduler.Stats().free_pages, 64U);
    EXPECT_EQ(bench.scheduler.Stats().running, 0U);
  }
}

TEST(Scheduler, ChoicesComputeTheirPromptOnce) {
  for (size_t prompt : {1, 15, 16, 17, 33, 100}) {
    Bench bench({.step_tokens = 32});
    Sampling sampling{.temperature = 1, .logit_bias = {}, .seed = 40};
    const SequenceId lead =
        bench.Add({.prompt = Prompt(1, prompt), .max_tokens = 20, .sampling = sampling, .prefix_scope = "t"});
    std::vector<SequenceId> ids = {lead};
    for (int i = 1; i < 4; ++i) {
      ++sampling.seed;
      ids.push_back(bench.Add({.prompt = Prompt(1, prompt),
                               .max_tokens = 20,
                               .sampling = sampling,
                               .prefix_scope = "t",
                               .lead = lead}));
    }
    bench.Run();
    EXPECT_EQ(bench.scheduler.Stats().computed_tokens, prompt + 19 + 3 * 20);
    for (uint64_t i = 0; i < 4; ++i) {
      sampling.seed = 40 + i;
      EXPECT_EQ(bench.said[ids[i]], Alone(Prompt(1, prompt), 20, sampling)) << prompt << " " << i;
    }
  }
}

TEST(Scheduler, AStarvedSequenceWaitsAndGoesOnWhereItWas) {
  Bench bench;
  const SequenceId id = bench.Add(
      {.prompt = Prompt(1, 20), .max_tokens = 10, .sampling = {}, .prefix_scope = "", .credits = 3});
  bench.Run();
  EXPECT_EQ(bench.said[id].size(), 3U);
  bench.Run();
  EXPECT_EQ(bench.turns[Turn::kStarved], 1);
  bench.scheduler.Grant(id, 7);
  bench.Run();
  EXPECT_EQ(bench.said[id], Alone(Prompt(1, 20), 10));
}

TEST(Scheduler, SlowReadersDoNotBlockTheOthers) {
  Bench bench({.max_sequences = 4}, "fake:m?pages=16");
  for (uint64_t i = 0; i < 4; ++i) {
    bench.Add({.prompt = Prompt(i, 50), .max_tokens = 10, .sampling = {}, .prefix_scope = "t", .credits = 1});
  }
  const SequenceId reader = bench.Add(Prompt(9, 200), 40);  // needs all pages
  bench.Run();
  EXPECT_EQ(bench.said[reader], Alone(Prompt(9, 200), 40));
}

TEST(Scheduler, WhatCanNeverFitIsRefused) {
  Bench bench({}, "fake:m?pages=4&context=1000");
  auto add = [&](size_t prompt, int64_t tokens) {
    return bench.scheduler.Add({.model = bench.model.id,
                                .prompt = Prompt(1, prompt),
                                .max_tokens = tokens,
                                .sampling = {},
                                .prefix_scope = ""});
  };
  EXPECT_TRUE(add(40, 24));
  EXPECT_THAT(add(40, 25).error().message, HasSubstr("needs 5 pages"));
  EXPECT_THAT(add(40, 1'000'000'000'000).error().message, HasSubstr("context of 1000"));
  EXPECT_EQ(add(0, 1).error().code, Code::kInvalid);
}

TEST(Scheduler, AResultThatDoesNotAnswerThePlanIsRefused) {
  Bench bench;
  bench.Add(Prompt(1, 3), 2);
  ASSERT_TRUE(bench.scheduler.Next());
  EXPECT_FALSE(bench.scheduler.Commit({}));
  StepResult wrong;
  wrong.sampled.push_back({.sequence = 1, .token = 1'000'000, .top = {}});
  EXPECT_FALSE(bench.scheduler.Commit(wrong));
  bench.scheduler.Abort();
}

TEST(Scheduler, WhatIsNotKeptIsZeroedByTheNextStepThatEndsWell) {
  Scheduler scheduler({.max_sequences = 4, .step_tokens = 64});
  const auto runner = MakeFakeRunner();
  const LoadedModel model = *runner->Load({.path = "fake:m?pages=8"});
  scheduler.AddModel(model);
  const auto add = [&](size_t tokens) {
    return *scheduler.Add({.model = model.id,
                           .prompt = Prompt(tokens, tokens),
                           .max_tokens = 10,
                           .sampling = {},
                           .prefix_scope = ""});
  };
  const auto zeroed = [](const StepPlan& plan) {
    std::set<PageId> pages;
    for (const SequenceOp& op : plan.ops) {
      EXPECT_EQ(op.kind, SequenceOp::Kind::kZeroPage);
      EXPECT_TRUE(pages.insert(op.to_page).second);
    }
    return pages;
  };
  const auto commit = [&](const StepPlan& plan) {
    StepResult result;
    for (const auto& step : plan.work)
      result.sampled.push_back({.sequence = step.sequence, .token = 1, .top = {}});
    EXPECT_TRUE(scheduler.Commit(result));
  };
  const SequenceId ends = add(40);
  add(4);
  const StepPlan first = *scheduler.Next();
  EXPECT_TRUE(zeroed(first).empty()) << "fresh pages hold nothing";
  commit(first);
  const std::vector<PageId> held = scheduler.Find(ends)->pages;
  scheduler.Finish(ends);
  const std::set<PageId> left(held.begin(), held.end());
  EXPECT_EQ(left.size(), 3u);
  EXPECT_EQ(zeroed(*scheduler.Next()), left);
  scheduler.Abort();
  add(20);  // takes some of them
  const StepPlan again = *scheduler.Next();
  EXPECT_EQ(zeroed(again), left) << "the failed step may not have come to it";
  commit(again);
  EXPECT_TRUE(zeroed(*scheduler.Next()).empty());
  scheduler.Abort();
}

TEST(Scheduler, NoModelIsKeptOutOfItsSlots) {
  Scheduler scheduler({.max_sequences = 4, .step_tokens = 64, .prefix_cache = false});
  const auto runner = MakeFakeRunner();
  const LoadedModel busy = *runner->Load({.path = "fake:a"}), quiet = *runner->Load({.path = "fake:b"});
  scheduler.AddModel(busy);
  scheduler.AddModel(quiet);
  auto add = [&](const LoadedModel& model) {
    return *scheduler.Add(
        {.model = model.id, .prompt = {1}, .max_tokens = 1, .sampling = {}, .prefix_scope = ""});
  };
  for (int i = 0; i < 50; ++i) add(busy);
  add(quiet);
  bool quiet_ran = false;
  for (int i = 0; i < 4 && !quiet_ran; ++i) {
    auto plan = scheduler.Next();
    ASSERT_TRUE(plan);
    quiet_ran = plan->model == quiet.id;
    StepResult result;
    result.chip_time = 1000;
    for (const auto& step : plan->work)
      result.sampled.push_back({.sequence = step.sequence, .token = 1, .top = {}});
    ASSERT_TRUE(scheduler.Commit(result));
  }
  EXPECT_TRUE(quiet_ran);
}

// Everything at once: shared beginnings, few pages, choices, slow readers, cancels, failed steps.
void Storm(uint64_t seed) {
  SCOPED_TRACE(fmt::format("seed {}", seed));
  Random random(seed);
  const bool faults = random.Below(3) == 0;
  const auto pages = 8 + random.Below(40);
  Bench bench({.max_sequences = static_cast<int32_t>(1 + random.Below(12)),
               .step_tokens = static_cast<int32_t>(1 + random.Below(100)),
               .prefix_cache = random.Below(4) != 0},
              fmt::format("fake:m?pages={}", pages), {.seed = seed, .fail = faults ? 0.02 : 0});
  bench.fail_is_fatal = !faults;

  struct Asked {
    std::vector<Token> prompt;
    int64_t tokens = 0;
    Sampling sampling;
    bool cancelled = false;
  };
  std::map<SequenceId, Asked> asked;
  const auto ask = [&] {
    auto prompt = Prompt(random.Below(3), 5 + random.Below(60));
    for (uint64_t i = random.Below(20); i > 0; --i) prompt.push_back(static_cast<Token>(random.Below(1000)));
    const auto tokens =
        static_cast<int64_t>(1 + random.Below(static_cast<uint64_t>(pages) * 16 - prompt.size() - 1) % 60);
    const std::string scope = random.Below(5) == 0 ? "" : fmt::format("{}", random.Below(2));
    SequenceId lead = 0;
    for (uint64_t choice = random.Below(4) == 0 ? 3 : 1; choice > 0; --choice) {
      Sampling sampling;
      sampling.temperature = random.Below(2) == 0 ? 0.0F : 1.0F;
      sampling.presence_penalty = random.Below(4) == 0 ? 1.0F : 0.0F;
      sampling.seed = random.Below(100);
      const SequenceId id =
          bench.Add({.prompt = prompt,
                     .max_tokens = tokens,
                     .sampling = sampling,
                     .prefix_scope = scope,
                     .credits = random.Below(3) == 0 ? static_cast<int64_t>(1 + random.Below(5)) : -1,
                     .lead = lead});
      if (lead == 0) lead = id;
      asked[id] = {prompt, tokens, sampling};
    }
  };
  for (int step = 0; step < 150; ++step) {
    if (random.Below(5) == 0) ask();
    if (random.Below(15) == 0 && !asked.empty()) {
      auto victim = std::next(asked.begin(), static_cast<ptrdiff_t>(random.Below(asked.size())));
      if (bench.IsOpen(victim->first)) victim->second.cancelled = true;
      bench.Cancel(victim->first);
    }
    for (const auto& [id, request] : asked) {
      if (random.Below(6) == 0 && bench.IsOpen(id))
        bench.scheduler.Grant(id, static_cast<int64_t>(random.Below(8)));
    }
    bench.Step();
  }
  // All readers read again: every sequence ends, from any state.
  for (const auto& [id, request] : asked) {
    if (bench.IsOpen(id)) bench.scheduler.Grant(id, 1000);
  }
  bench.Run();
  EXPECT_TRUE(bench.scheduler.empty()) << "starved by others";
  EXPECT_EQ(bench.scheduler.Stats().free_pages, pages);
  for (const auto& [id, request] : asked) {
    const auto alone = Alone(request.prompt, request.tokens, request.sampling);
    const auto& said = bench.said[id];
    ASSERT_LE(said.size(), alone.size());
    EXPECT_TRUE(std::equal(said.begin(), said.end(), alone.begin())) << "sequence " << id;
    if (!request.cancelled && !faults) {
      EXPECT_EQ(said.size(), alone.size());
    }
  }
}

TEST(Scheduler, NothingChangesATextAndNobodyIsForgotten) {
  for (uint64_t seed = 0; seed < 150; ++seed) Storm(seed);
}

TEST(Scheduler, TheOldestAlwaysEndsHoweverFewThePages) {
  Bench bench({.max_sequences = 8, .prefix_cache = false}, "fake:m?pages=5");
  std::vector<SequenceId> ids;
  for (uint64_t i = 0; i < 8; ++i) ids.push_back(bench.Add(Prompt(i, 10), 60));
  std::vector<SequenceId> ended;
  while (bench.Step()) {
    for (SequenceId id : ids) {
      if (!bench.IsOpen(id) && std::ranges::find(ended, id) == ended.end()) ended.push_back(id);
    }
  }
  EXPECT_EQ(ended, ids);  // in the order they came
}

}  // namespace
}  // namespace penstock
