// CellMap against a memory that does what libllama's does, and nothing but tokens in its cells.
#include "runner/cell_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "base/random.h"
#include "runner/test_cells.h"

// Tests name the few fields that they are about.
#pragma clang diagnostic ignored "-Wmissing-designated-field-initializers"

namespace penstock {
namespace {

using testing::Cells;
using ::testing::HasSubstr;

class Kept {
 public:
  Kept(int32_t pages, int32_t slots, bool shares = true) : map_(pages, slots, shares), pages_(pages) {}

  // Runs the plan; every sequence's slot must then hold `texts` of it.
  void Run(const StepPlan& plan, const std::map<SequenceId, std::vector<Token>>& texts) {
    CellMap::Actions actions;
    const auto slots = map_.Prepare(plan, actions);
    ASSERT_TRUE(slots.has_value()) << slots.error().message;
    cells_.Do(actions);
    for (size_t i = 0; i < plan.work.size(); ++i)
      cells_.Compute((*slots)[i], plan.work[i].start, plan.work[i].tokens);
    map_.Computed(plan);
    for (size_t i = 0; i < plan.work.size(); ++i) {
      const SequenceStep& step = plan.work[i];
      const auto text = cells_.Text((*slots)[i]);
      const size_t end = static_cast<size_t>(step.start) + step.tokens.size();
      ASSERT_EQ(text.size(), end);
      EXPECT_TRUE(std::equal(text.begin(), text.end(), texts.at(step.sequence).begin()));
    }
    EXPECT_LE(cells_.size(), static_cast<size_t>(pages_ * kPageTokens));
    map_.CheckIntegrity();
  }
  // One sequence's tokens [start, end) of `text`.
  void Step(SequenceId id, const std::vector<Token>& text, int32_t start, int32_t end,
            std::vector<PageId> pages, std::vector<SequenceOp> ops = {}) {
    StepPlan plan{.ops = std::move(ops)};
    plan.work.push_back({.sequence = id,
                         .start = start,
                         .tokens = {text.begin() + start, text.begin() + end},
                         .pages = std::move(pages)});
    Run(plan, {{id, text}});
  }

  CellMap map_;
  Cells cells_;
  const int32_t pages_;
};

std::vector<Token> Text(uint64_t seed, size_t length) {
  Random random(seed);
  std::vector<Token> text(length);
  for (Token& token : text) token = static_cast<Token>(random.Below(1000));
  return text;
}

SequenceOp Zero(PageId page) {
  return {.kind = SequenceOp::Kind::kZeroPage, .to_page = page};
}

TEST(CellMap, APageFoundAgainCostsNeitherCellsNorComputing) {
  Kept kept(8, 4);
  const auto text = Text(1, 40);
  kept.Step(1, text, 0, 40, {0, 1, 2});
  kept.Step(2, text, 32, 40, {0, 1, 3});
  EXPECT_EQ(kept.cells_.computed(), 48U);
  EXPECT_EQ(kept.cells_.size(), 48U);
}

TEST(CellMap, AForkSharesTheCellsOfThePartlyFilledPage) {
  Kept kept(8, 4);
  auto lead = Text(1, 30), other = lead;
  kept.Step(1, lead, 0, 24, {0, 1});
  other[23] = 7777;
  kept.Step(
      2, other, 23, 24, {0, 2},
      {{.kind = SequenceOp::Kind::kCopyPage, .from_page = 1, .to_page = 2, .from = 1, .to = 2, .tokens = 7}});
  EXPECT_EQ(kept.cells_.size(), 25U);
  kept.Step(1, lead, 24, 30, {0, 1});
  kept.Step(2, other, 24, 30, {0, 2});
}

TEST(CellMap, AZeroedPageGivesItsCellsBack) {
  Kept kept(4, 4);
  kept.Step(1, Text(1, 64), 0, 64, {0, 1, 2, 3});
  kept.Step(2, Text(2, 32), 0, 32, {2, 3}, {Zero(2), Zero(3)});
  EXPECT_EQ(kept.cells_.size(), 64U);
  // What is left of the first text is found again.
  kept.Step(3, Text(1, 40), 32, 40, {0, 1, 2}, {Zero(2), Zero(3)});
  EXPECT_EQ(kept.map_.recomputed(), 0U);
}

TEST(CellMap, WhatAnEmptiedSlotLostIsComputedAgain) {
  Kept kept(16, 2);
  const auto text = Text(1, 40);
  kept.Step(1, text, 0, 40, {0, 1, 2});
  for (uint64_t id = 2; id < 4; ++id)
    kept.Step(id, Text(id, 20), 0, 20, {static_cast<PageId>(2 * id), static_cast<PageId>(2 * id + 1)});
  kept.Step(1, text, 39, 40, {0, 1, 2});
  EXPECT_EQ(kept.map_.recomputed(), 39U);
}

TEST(CellMap, ASlotWhosePagesOthersListIsEmptiedFirst) {
  Kept kept(16, 3);
  const auto text = Text(1, 40);
  kept.Step(9, Text(9, 20), 0, 20, {8, 9});
  kept.Step(1, text, 0, 32, {0, 1});
  kept.Step(2, text, 32, 40, {0, 1, 2});  // lists all that 1's slot does
  kept.Step(3, Text(3, 20), 0, 20, {4, 5});
  kept.Step(9, Text(9, 30), 20, 21, {8, 9});  // though the oldest, still there
  EXPECT_EQ(kept.map_.recomputed(), 0U);
}

TEST(CellMap, AFailedStepIsForgottenAndItsPagesAreComputedAgain) {
  Kept kept(8, 4);
  const auto text = Text(1, 40);
  kept.Step(1, text, 0, 32, {0, 1});
  StepPlan plan;
  plan.work.push_back({.sequence = 1, .start = 32, .tokens = {5}, .pages = {0, 1, 2}});
  CellMap::Actions actions;
  ASSERT_TRUE(kept.map_.Prepare(plan, actions).has_value());
  kept.map_.Failed(plan, actions);
  kept.cells_.Do(actions);
  EXPECT_EQ(kept.cells_.size(), 0U);
  kept.Step(2, text, 32, 40, {0, 1, 2});
  EXPECT_EQ(kept.map_.recomputed(), 32U);
}

TEST(CellMap, ARunningStateIsNeverSharedOrCutButComputedAgain) {
  Kept kept(8, 4, /*shares=*/false);
  const auto text = Text(1, 40);
  kept.Step(1, text, 0, 40, {0, 1, 2});
  kept.Step(2, text, 32, 40, {0, 1, 3});
  EXPECT_EQ(kept.map_.recomputed(), 32U);
  kept.Step(3, Text(3, 8), 0, 8, {2}, {Zero(2)});
}

TEST(CellMap, APlanThatCannotBeIsAnError) {
  Kept kept(4, 4);
  const auto refused = [&](SequenceStep step, std::vector<SequenceOp> ops = {}) {
    CellMap::Actions actions;
    StepPlan plan{.ops = std::move(ops)};
    plan.work.push_back(std::move(step));
    const auto slots = kept.map_.Prepare(plan, actions);
    return slots.has_value() ? "" : slots.error().message;
  };
  EXPECT_EQ(refused({.sequence = 1, .tokens = {1}, .pages = {0}}), "");
  EXPECT_THAT(refused({.sequence = 2, .tokens = {1}, .pages = {4}}), HasSubstr("do not fit"));
  EXPECT_THAT(refused({.sequence = 2, .start = 16, .tokens = {1}, .pages = {0}}), HasSubstr("do not fit"));
  EXPECT_THAT(refused({.sequence = 2, .start = 1, .tokens = {1}, .pages = {1}}), HasSubstr("goes on from"));
  EXPECT_THAT(refused({.sequence = 2, .tokens = {1}, .pages = {0}}, {Zero(4)}), HasSubstr("names page"));
}

}  // namespace
}  // namespace penstock
