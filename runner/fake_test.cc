#include "runner/fake.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace penstock {
namespace {

using ::testing::HasSubstr;

Result<StepResult> RunStep(Runner& runner, const StepPlan& plan) {
  Result<StepResult> result;
  runner.Submit(plan, [&](Result<StepResult> done) { result = std::move(done); });
  return result;
}

SequenceStep Step(int32_t start, std::vector<Token> tokens, std::vector<PageId> pages) {
  SequenceStep step;
  step.sequence = 1;
  step.start = start;
  step.tokens = std::move(tokens);
  step.pages = std::move(pages);
  step.sample = true;
  step.sampling.temperature = 0;
  return step;
}

class FakeRunnerTest : public ::testing::Test {
 protected:
  FakeRunnerTest() : runner_(MakeFakeRunner()), model_(*runner_->Load({.path = "fake:m?pages=8"})) {}

  Result<Token> Say(SequenceStep step, std::vector<SequenceOp> ops = {}) {
    StepPlan plan;
    plan.model = model_.id;
    plan.ops = std::move(ops);
    plan.work.push_back(std::move(step));
    auto result = RunStep(*runner_, plan);
    if (!result) return std::unexpected(result.error());
    return result->sampled[0].token;
  }
  static SequenceOp Zero(PageId page) { return {.kind = SequenceOp::Kind::kZeroPage, .to_page = page}; }

  std::unique_ptr<Runner> runner_;
  LoadedModel model_;
};

const std::vector<Token> kText = {5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22};

TEST_F(FakeRunnerTest, SaysTheSameHoweverTheTextIsCutAndWhereverItLies) {
  const Token whole = *Say(Step(0, kText, {0, 1}));
  EXPECT_TRUE(Say(Step(0, {5, 6, 7}, {4})));
  EXPECT_TRUE(Say(Step(3, {kText.begin() + 3, kText.begin() + 16}, {4})));
  EXPECT_EQ(*Say(Step(16, {21, 22}, {4, 7})), whole);
}

TEST_F(FakeRunnerTest, EveryTokenAndItsPlaceMatter) {
  const Token whole = *Say(Step(0, kText, {0, 1}));
  int different = 0;
  for (size_t i = 0; i < kText.size(); ++i) {
    auto changed = kText;
    changed[i] += 1;
    const auto said = Say(Step(0, changed, {2, 3}), {Zero(2), Zero(3)});
    ASSERT_TRUE(said);
    different += *said != whole ? 1 : 0;
  }
  EXPECT_GE(different, static_cast<int>(kText.size()) - 1);  // 1 in 1000 is the same by chance
}

TEST_F(FakeRunnerTest, AWrongPageShows) {
  const Token right = *Say(Step(0, kText, {0, 1}));
  EXPECT_TRUE(Say(Step(0, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17}, {2, 3})));
  const Token next = *Say(Step(18, {right}, {0, 1}));
  EXPECT_TRUE(Say(Step(17, {22, right}, {2, 3})));
  const auto swapped = Say(Step(19, {next}, {2, 1}));
  const auto straight = Say(Step(19, {next}, {0, 3}), {Zero(4)});
  EXPECT_FALSE(swapped && straight && *swapped == *straight);
}

TEST_F(FakeRunnerTest, ARecycledPageThatWasNotZeroedIsAnError) {
  EXPECT_TRUE(Say(Step(0, kText, {0, 1})));
  const auto leaked = Say(Step(0, {1, 2}, {1}));
  ASSERT_FALSE(leaked);
  EXPECT_THAT(leaked.error().message, HasSubstr("still holds an earlier owner's token"));
  EXPECT_TRUE(Say(Step(0, {1, 2}, {1}), {Zero(1)}));
}

TEST_F(FakeRunnerTest, AMissingCopyIsAnError) {
  EXPECT_TRUE(Say(Step(0, {1, 2, 3}, {0})));
  const auto missing = Say(Step(3, {4}, {5}));
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().message, HasSubstr("which nobody wrote"));
  const SequenceOp copy{.kind = SequenceOp::Kind::kCopyPage, .from_page = 0, .to_page = 6, .tokens = 3};
  EXPECT_EQ(*Say(Step(3, {4}, {6}), {copy}), *Say(Step(3, {4}, {0})));
}

TEST_F(FakeRunnerTest, DrawsDependOnSeedAndPositionOnly) {
  auto step = Step(0, {1, 2}, {0});
  step.sampling.temperature = 1;
  step.sampling.seed = 9;
  const Token said = *Say(step);
  step.pages = {1};
  EXPECT_EQ(*Say(step), said);
  step.pages = {2};
  step.sampling.seed = 10;
  EXPECT_NE(*Say(step), said);
}

TEST(FakeOptions, AreReadFromTextOrRefusedByName) {
  const auto options = ParseFakeOptions("step_ms=20&token_us=3&paced=1&seed=7&fail=0.25");
  ASSERT_TRUE(options);
  EXPECT_EQ(options->step_time, 20 * kMillisecond);
  EXPECT_EQ(options->token_time, 3 * kMicrosecond);
  EXPECT_TRUE(options->paced);
  EXPECT_EQ(options->fail, 0.25);
  EXPECT_THAT(ParseFakeOptions("stepms=20").error().message, HasSubstr("'stepms=20'"));
  EXPECT_FALSE(ParseFakeOptions("paced=yes"));
  EXPECT_FALSE(MakeFakeRunner()->Load({.path = "fake:m?pages=0"}));
}

TEST(FakeRunner, FaultsReplayBySeed) {
  std::string runs[2];
  for (std::string& run : runs) {
    const auto runner = MakeFakeRunner({.seed = 4, .fail = 0.5});
    const LoadedModel model = *runner->Load({.path = "fake:m"});
    for (int i = 0; i < 64; ++i) {
      StepPlan plan;
      plan.model = model.id;
      run += RunStep(*runner, plan) ? '.' : 'x';
    }
  }
  EXPECT_EQ(runs[0], runs[1]);
  EXPECT_GT(std::ranges::count(runs[0], 'x'), 16);
  EXPECT_LT(std::ranges::count(runs[0], 'x'), 48);
}

}  // namespace
}  // namespace penstock
