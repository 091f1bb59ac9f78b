#include "app/machine/fit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "app/models/catalogue.h"
#include "app/models/test_model.h"

namespace penstock {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kGB = 1'000'000'000;

constexpr ModelShape kSmollm2{
    .layers = 30, .kv_heads = 3, .head_dim = 64, .context = 8192, .weights = 134'480'000};
constexpr ModelShape kQwen{.layers = 24,
                           .kv_heads = 2,
                           .head_dim = 64,
                           .context = 32768,
                           .weights = 493'960'000,
                           .unread = 99'000'000};

FitMachine Machine(uint64_t memory, uint64_t free) {
  return {.memory = memory, .memory_free = free, .bandwidth = 40e9, .int8_ops = 946e9, .f32_flops = 236e9};
}

// Measured alone on two cores of a Zen 4 server: bandwidth 37.7 to 40.2 GB/s, int8 peak 946 GOP/s, prompts of
// 512 tokens, median of 32 steps (smollm2's of 16 users: 16 steps; qwen's of 16 users: prompts of 64).
TEST(Fit, TheEstimateIsWithinThirtyPercentOfTheMeasuredSpeed) {
  struct Row {
    const char* name;
    FitModel model;
    double alone, together;
  };
  const Row rows[] = {
      {"smollm2-135m Q4_1", {.bytes = 98'362'432, .shape = kSmollm2}, 233.9, 670.9},
      {"qwen2.5-coder-0.5b Q4_K_M", {.bytes = 491'400'064, .shape = kQwen}, 80.0, 374.1},
  };
  for (const Row& row : rows) {
    const Fit fit = JudgeFit(row.model, Machine(24 * kGB, 22 * kGB));
    EXPECT_NEAR(fit.alone / row.alone, 1, 0.3) << row.name;
    EXPECT_NEAR(fit.together / row.together, 1, 0.3) << row.name;
    EXPECT_FALSE(fit.about);
  }
}

TEST(Fit, MemoryFollowsTheEnginesOwnRules) {
  struct Row {
    uint64_t bytes, memory, free;
    Fits fits;
  };
  const Row rows[] = {
      {5 * kGB, 24 * kGB, 22 * kGB, Fits::kYes},
      {5 * kGB, 24 * kGB, 5 * kGB, Fits::kNotNow},
      {19 * kGB, 24 * kGB, 22 * kGB, Fits::kYes},
      {22 * kGB, 24 * kGB, 24 * kGB, Fits::kNo},  // a tenth is kept for everything else
      {3 * kGB, 3 * kGB, 3 * kGB, Fits::kNo},
      {491'400'064, 1 * kGB, 950'000'000, Fits::kNo},  // at least half a gigabyte is kept
      {491'400'064, 2 * kGB, 1'600'000'000, Fits::kYes},
      {0, 24 * kGB, 22 * kGB, Fits::kUnknown},
      {5 * kGB, 0, 0, Fits::kUnknown},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(JudgeFit({.bytes = row.bytes, .shape = kQwen}, Machine(row.memory, row.free)).fits, row.fits)
        << row.bytes << " of " << row.memory;
  }
}

TEST(Fit, AConfiguredLimitAppliesAndDiskIsReportedSeparatelyFromMemory) {
  FitMachine machine = Machine(24 * kGB, 22 * kGB);
  machine.engine_memory = 4 * kGB;
  EXPECT_EQ(JudgeFit({.bytes = 5 * kGB, .shape = kQwen}, machine).fits, Fits::kNo);
  machine.engine_memory = 0;
  machine.disk_free = 4 * kGB;
  EXPECT_EQ(JudgeFit({.bytes = 5 * kGB, .shape = kQwen}, machine).fits, Fits::kNoDisk);
  machine.disk_free = 6 * kGB;
  EXPECT_EQ(JudgeFit({.bytes = 5 * kGB, .shape = kQwen}, machine).fits, Fits::kYes);
}

TEST(Fit, UsersAreCountedInPagesOfTheMemoryThatTheEngineWouldGive) {
  // 2 GiB at most, 12,288 bytes a token: 174,762 tokens in whole pages.
  const Fit wide = JudgeFit({.bytes = 491'400'064, .shape = kQwen}, Machine(24 * kGB, 22 * kGB));
  EXPECT_EQ(wide.user_context, 4096);
  EXPECT_EQ(wide.users, 174'752 / 4096);
  EXPECT_EQ(wide.longest, 32768);
  EXPECT_EQ(wide.longest_users, 5);
  FitMachine few = Machine(24 * kGB, 22 * kGB);
  few.max_sequences = 8;
  EXPECT_EQ(JudgeFit({.bytes = 491'400'064, .shape = kQwen}, few).users, 8);
  few.context = 1000;
  EXPECT_EQ(JudgeFit({.bytes = 491'400'064, .shape = kQwen}, few).longest, 1000);
  few.kv_memory = 16 * 12'288;  // one page
  EXPECT_EQ(JudgeFit({.bytes = 491'400'064, .shape = kQwen}, few).longest, 16);
}

TEST(Fit, AMixtureReadsItsChosenExpertsForOneUserAndNearlyAllForMany) {
  const ModelShape dense{
      .layers = 48, .kv_heads = 4, .head_dim = 128, .context = 32768, .weights = 30'000'000'000};
  ModelShape mixture = dense;
  mixture.weights = 3'000'000'000;
  mixture.expert_share = 0.95;
  mixture.expert_used = 8.0 / 128;
  const FitMachine machine = Machine(64 * kGB, 60 * kGB);
  const Fit whole = JudgeFit({.bytes = 18 * kGB, .shape = dense}, machine);
  const Fit sparse = JudgeFit({.bytes = 18 * kGB, .shape = mixture}, machine);
  EXPECT_GT(sparse.alone, 6 * whole.alone);
  EXPECT_LT(sparse.together, 16 * sparse.alone);
}

TEST(Fit, WithoutAShapeTheFiguresAreRoughAndUsersAreNotCounted) {
  const Fit fit = JudgeFit({.bytes = 5 * kGB, .guessed = true}, Machine(24 * kGB, 22 * kGB));
  EXPECT_EQ(fit.fits, Fits::kYes);
  EXPECT_TRUE(fit.about);
  EXPECT_EQ(fit.users, 0);
  EXPECT_NEAR(fit.alone, 40 * 0.89 / 5, 0.1);
}

TEST(Fit, TheLinesStateWhatFitsAndWhatDoesNot) {
  const FitMachine machine = Machine(24 * kGB, 22 * kGB);
  const FitModel qwen{.bytes = 491'400'064, .shape = kQwen};
  const auto lines = FitLines("qwen", qwen, machine, JudgeFit(qwen, machine));
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_THAT(lines[0], HasSubstr("qwen fits this machine: 491 MB"));
  EXPECT_THAT(lines[1], HasSubstr("tokens/s for one user"));
  EXPECT_THAT(lines[2], HasSubstr("42 users at once with 4,096 tokens each, or 5 with 32,768"));
  const FitModel large{.bytes = 30 * kGB, .guessed = true};
  const auto no = FitLines("large", large, machine, JudgeFit(large, machine));
  EXPECT_THAT(no[0], HasSubstr("large does not fit this machine: about 30.0 GB of weights"));
  EXPECT_EQ(FitWord(JudgeFit(large, machine)), "no");
}

TEST(Fit, BytesAreEstimatedFromParametersAndFormat) {
  EXPECT_NEAR(static_cast<double>(GuessBytes("8B", "Q4_K_M")), 5.0e9, 0.1e9);
  EXPECT_NEAR(static_cast<double>(GuessBytes("0.6B", "Q8_0")), 0.645e9, 0.01e9);
  EXPECT_EQ(GuessBytes("many", "Q8_0"), 0U);
  EXPECT_EQ(GuessBytes("8", "Q8_0"), 0U);
  EXPECT_EQ(GuessBytes("8B", "Q9_9"), 0U);
  for (const auto& model : KnownModels()) EXPECT_GT(model.LikelyBytes(), 0U) << model.name;
}

TEST(Shape, IsReadFromAFilesFirstBytes) {
  const std::string bytes = TestModelBytes();
  const auto shape = ShapeOfBeginning(std::as_bytes(std::span(bytes)).first(2000), "m");
  ASSERT_TRUE(shape.has_value()) << shape.error().message;
  EXPECT_EQ(shape->layers, 1);
  EXPECT_EQ(shape->kv_heads, 2);
  EXPECT_EQ(shape->head_dim, 32);
  EXPECT_EQ(shape->context, 256);
  EXPECT_EQ(shape->weights, 7 * 64 * 64 + 259 * 64);
  EXPECT_EQ(shape->KvBytesPerToken(), 1 * 2 * 2 * 32 * 2);
  const auto whole = ShapeOfBeginning(std::as_bytes(std::span(bytes)), "m");
  EXPECT_EQ(whole->weights, shape->weights);
  EXPECT_FALSE(ShapeOfBeginning(std::as_bytes(std::span(bytes)).first(100), "m").has_value());
}

}  // namespace
}  // namespace penstock
