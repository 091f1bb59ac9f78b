// The planner's pages in a library that stores sequences: whatever the planner does, each sequence has its
// own text before each step, and the cells never need more room than the pages.
#include "runner/cell_map.h"

#include <gtest/gtest.h>

#include "base/random.h"
#include "runner/test_cells.h"
#include "sched/scheduler.h"

namespace penstock {
namespace {

struct Setting {
  int32_t pages = 0, slots = 0;
  bool shares = true;
  int32_t aside = 0;
};

class CellsOfAPlanner : public ::testing::TestWithParam<Setting> {};

// Prompts with a few shared beginnings, forks, cancels, starvation, failed steps, and too few pages and
// slots.
TEST_P(CellsOfAPlanner, HoldEachSequencesTextAndNeverMoreThanItsPages) {
  const auto [pages, slots, shares, aside] = GetParam();
  uint64_t recomputed = 0, preemptions = 0, hits = 0, restored = 0;
  for (uint64_t seed = 0; seed < 30; ++seed) {
    Random random(seed);
    Scheduler scheduler({.max_sequences = 8, .step_tokens = 24, .prefix_cache = true});
    LoadedModel model;
    model.id = 1;
    model.vocabulary = 50;
    model.context = 160;
    model.pages = pages;
    model.aside_pages = aside;
    model.shares_pages = shares;
    scheduler.AddModel(model);
    CellMap map(pages, slots, shares);
    testing::Cells cells;
    std::vector<SequenceId> open;
    const auto close = [&](size_t i) {
      scheduler.Finish(open[i]);
      open.erase(open.begin() + static_cast<ptrdiff_t>(i));
    };
    const auto add = [&] {
      NewSequence fresh{.model = 1,
                        .prompt = {},
                        .max_tokens = 1 + static_cast<int64_t>(random.Below(40)),
                        .sampling = {},
                        .prefix_scope = random.Below(4) == 0 ? "" : "team"};
      Random beginning(random.Below(4));
      for (uint64_t i = random.Below(70); i-- > 0;)
        fresh.prompt.push_back(static_cast<Token>(beginning.Below(50)));
      for (uint64_t i = 1 + random.Below(20); i-- > 0;)
        fresh.prompt.push_back(static_cast<Token>(random.Below(50)));
      if (random.Below(5) == 0) fresh.credits = 2;
      const uint64_t choices = random.Below(4) == 0 ? 3 : 1;
      SequenceId lead = 0;
      for (uint64_t i = 0; i < choices; ++i) {
        NewSequence choice = fresh;
        choice.lead = lead;
        const auto id = scheduler.Add(std::move(choice));
        ASSERT_TRUE(id.has_value()) << id.error().message;
        if (i == 0) lead = *id;
        open.push_back(*id);
      }
    };
    for (int turn = 0; turn < 400; ++turn) {
      if (open.size() < 14 && random.Below(3) == 0) add();
      if (!open.empty() && random.Below(12) == 0) close(random.Below(open.size()));
      if (!open.empty() && random.Below(3) == 0) scheduler.Grant(open[random.Below(open.size())], 3);
      const auto plan = scheduler.Next();
      if (!plan) continue;
      CellMap::Actions actions;
      const auto where = map.Prepare(*plan, actions);
      ASSERT_TRUE(where.has_value()) << where.error().message;
      cells.Do(actions);
      if (random.Below(25) == 0) {  // the chip fails during the step
        cells.Compute((*where)[0], plan->work[0].start, plan->work[0].tokens);
        actions.clear();
        map.Failed(*plan, actions);
        cells.Do(actions);
        scheduler.Abort();
        continue;
      }
      StepResult result;
      for (size_t i = 0; i < plan->work.size(); ++i) {
        const SequenceStep& step = plan->work[i];
        const auto& text = scheduler.Find(step.sequence)->tokens;
        const std::vector<Token> before(text.begin(), text.begin() + step.start);
        ASSERT_EQ(cells.Text((*where)[i]), before) << "seed " << seed << ", turn " << turn;
        cells.Compute((*where)[i], step.start, step.tokens);
        if (step.sample)
          result.sampled.push_back({.sequence = step.sequence,
                                    .token = static_cast<Token>(random.Below(50)),
                                    .logprob = 0,
                                    .top = {}});
      }
      map.Computed(*plan);
      map.CheckIntegrity();
      ASSERT_LE(cells.size(), static_cast<size_t>(pages * kPageTokens))
          << "seed " << seed << ", turn " << turn;
      ASSERT_TRUE(scheduler.Commit(result).has_value());
      for (size_t i = open.size(); i-- > 0;) {
        const Sequence& sequence = *scheduler.Find(open[i]);
        if (sequence.known() - sequence.prompt_tokens >= 40) close(i);
      }
    }
    // All sequences end, and a last step removes their saved state.
    while (!open.empty()) close(open.size() - 1);
    open.push_back(*scheduler.Add({.model = 1, .prompt = {1}, .sampling = {}, .prefix_scope = ""}));
    CellMap::Actions last;
    ASSERT_TRUE(map.Prepare(*scheduler.Next(), last).has_value());
    cells.Do(last);
    EXPECT_EQ(cells.aside(), 0u) << "seed " << seed;
    restored += cells.restored();
    recomputed += map.recomputed();
    preemptions += scheduler.Stats().preemptions;
    hits += scheduler.Stats().prefix_hit_tokens;
  }
  EXPECT_GT(preemptions, 0U);
  EXPECT_EQ(hits > 0, shares);
  EXPECT_GT(recomputed, 0U);
  EXPECT_EQ(restored > 0, aside > 0);
}

INSTANTIATE_TEST_SUITE_P(Some, CellsOfAPlanner,
                         ::testing::Values(Setting{.pages = 24, .slots = 9},
                                           Setting{.pages = 40, .slots = 16},
                                           Setting{.pages = 24, .slots = 12, .shares = false},
                                           Setting{.pages = 24, .slots = 12, .aside = 30},
                                           Setting{.pages = 24, .slots = 12, .shares = false, .aside = 8}),
                         [](const auto& param) {
                           return "Pages" + std::to_string(param.param.pages) + "Slots" +
                                  std::to_string(param.param.slots) + (param.param.shares ? "" : "Unshared") +
                                  (param.param.aside > 0 ? "Aside" : "");
                         });

}  // namespace
}  // namespace penstock
