#include "runner/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "base/random.h"

// Tests name the few fields that they are about.
#pragma clang diagnostic ignored "-Wmissing-designated-field-initializers"

namespace penstock {
namespace {

using ::testing::HasSubstr;

constexpr float kInf = std::numeric_limits<float>::infinity();

SequenceStep Step(Sampling sampling) {
  SequenceStep step;
  step.sequence = 7;
  step.tokens = {0};
  step.sampling = std::move(sampling);
  return step;
}

Result<Sampled> Try(std::vector<float> logits, const SequenceStep& step,
                    kernels::Isa isa = kernels::SupportedIsas().back()) {
  SamplerScratch scratch;
  return Sample(kernels::KernelsFor(isa), step, logits, scratch);
}

Token Choose(std::vector<float> logits, const SequenceStep& step) {
  const auto sampled = Try(std::move(logits), step);
  EXPECT_TRUE(sampled.has_value()) << sampled.error().message;
  return sampled->token;
}

// How often each token comes out of 4,000 seeds.
std::map<Token, int> Histogram(const std::vector<float>& logits, Sampling sampling) {
  std::map<Token, int> counts;
  for (uint64_t seed = 0; seed < 4000; ++seed) {
    sampling.seed = seed;
    ++counts[Choose(logits, Step(sampling))];
  }
  return counts;
}

std::vector<Token> Support(const std::vector<float>& logits, const Sampling& sampling) {
  std::vector<Token> tokens;
  for (const auto& [token, count] : Histogram(logits, sampling)) tokens.push_back(token);
  return tokens;
}

// Logits of the probabilities 0.5, 0.25, 0.15, 0.1.
const std::vector<float> kFour = {std::log(0.5F), std::log(0.25F), std::log(0.15F), std::log(0.1F)};

TEST(Sampler, GreedyTakesTheBestAndOfEqualsTheLowestId) {
  EXPECT_EQ(Choose({1, 3, 2, 3}, Step({.temperature = 0})), 1);
  std::vector<float> wide(100, -1);
  wide[61] = wide[93] = 5;
  EXPECT_EQ(Choose(wide, Step({.temperature = 0})), 61);
}

TEST(Sampler, DrawsFollowTheProbabilities) {
  const auto counts = Histogram(kFour, {});
  EXPECT_NEAR(counts.at(0), 2000, 150);
  EXPECT_NEAR(counts.at(1), 1000, 150);
  EXPECT_NEAR(counts.at(3), 400, 100);
}

TEST(Sampler, TheSameSeedAndPositionDrawTheSame) {
  SequenceStep step = Step({.seed = 5});
  std::vector<Token> first, second;
  for (auto* tokens : {&first, &second}) {
    for (step.start = 0; step.start < 50; ++step.start) tokens->push_back(Choose(kFour, step));
  }
  EXPECT_EQ(first, second);
  EXPECT_GT(std::ranges::count(first, 0), 10);
  EXPECT_GT(std::ranges::count(first, 1), 3);  // and positions differ
}

TEST(Sampler, TemperatureSharpensAndFlattens) {
  EXPECT_GT(Histogram(kFour, {.temperature = 0.3F})[0], 3500);
  EXPECT_NEAR(Histogram(kFour, {.temperature = 100})[3], 1000, 150);
}

TEST(Sampler, TopKKeepsTheKBest) {
  EXPECT_THAT(Support(kFour, {.top_k = 2}), ::testing::ElementsAre(0, 1));
  EXPECT_THAT(Support(kFour, {.top_k = 99}), ::testing::SizeIs(4));
}

TEST(Sampler, TopPKeepsTheFewestThatReachIt) {
  EXPECT_THAT(Support(kFour, {.top_p = 0.4F}), ::testing::ElementsAre(0));
  EXPECT_THAT(Support(kFour, {.top_p = 0.7F}), ::testing::ElementsAre(0, 1));
  EXPECT_THAT(Support(kFour, {.top_p = 0}), ::testing::ElementsAre(0));
}

TEST(Sampler, TopPCountsWhatTopKLeft) {
  // Of the two best, the first has two thirds.
  EXPECT_THAT(Support(kFour, {.top_k = 2, .top_p = 0.66F}), ::testing::ElementsAre(0));
  EXPECT_THAT(Support(kFour, {.top_k = 2, .top_p = 0.68F}), ::testing::ElementsAre(0, 1));
}

TEST(Sampler, MinPKeepsWhatIsLikelyBesideTheBest) {
  EXPECT_THAT(Support(kFour, {.min_p = 0.25F}), ::testing::ElementsAre(0, 1, 2));
  EXPECT_THAT(Support(kFour, {.top_p = 0.95F, .min_p = 0.45F}), ::testing::ElementsAre(0, 1));
}

TEST(Sampler, FiltersOfALargeVocabularyEqualAFullSort) {
  constexpr size_t kSize = 20'000;
  Random random(1);
  std::vector<float> logits(kSize);
  for (float& x : logits) x = static_cast<float>(random.NextUniform() * 12);
  std::vector<size_t> order(kSize);
  for (size_t i = 0; i < kSize; ++i) order[i] = i;
  std::ranges::sort(order, [&](size_t a, size_t b) { return logits[a] > logits[b]; });
  for (const int32_t k : {1, 5, 50, 5'000}) {
    const std::vector<size_t> best(order.begin(), order.begin() + k);
    for (uint64_t seed = 0; seed < 20; ++seed) {
      const auto token = static_cast<size_t>(Choose(logits, Step({.top_k = k, .seed = seed})));
      EXPECT_NE(std::ranges::find(best, token), best.end()) << k;
    }
  }
}

TEST(Sampler, RepetitionPenaltyWorksOnPromptAndOutput) {
  SequenceStep step = Step({.temperature = 0, .repetition_penalty = 2});
  step.history = {0, 1};
  step.prompt_tokens = 1;
  EXPECT_EQ(Choose({3, 2.9F, 2, -1}, step), 2);        // 1.5, 1.45, 2
  EXPECT_EQ(Choose({-1, -1.5F, -1.9F, -9}, step), 2);  // −2, −3, −1.9
}

TEST(Sampler, PresenceAndFrequencyPenaltiesWorkOnOutputOnly) {
  SequenceStep step = Step({.temperature = 0, .presence_penalty = 1});
  step.history = {0, 1, 1, 2};
  step.prompt_tokens = 1;
  EXPECT_EQ(Choose({2, 2.5F, 0, 0}, step), 0);
  step.sampling = {.temperature = 0, .frequency_penalty = 1};
  EXPECT_EQ(Choose({0.2F, 2.5F, 1.4F, 0}, step), 1);  // 0.2, 0.5, 0.4
  EXPECT_EQ(Choose({0.2F, 2.5F, 1.6F, 0}, step), 2);
}

TEST(Sampler, LogitBiasBansAndForces) {
  EXPECT_EQ(Choose({5, 1, 0, 0}, Step({.temperature = 0, .logit_bias = {{0, -100.0F}}})), 1);
  EXPECT_EQ(
      Choose({5, 1, 0, 0}, Step({.temperature = 0, .logit_bias = {{3, 100.0F}, {-1, 1.0F}, {99, 1.0F}}})), 3);
}

TEST(Sampler, LogprobsAreOfTheRawLogits) {
  const auto sampled = Try(kFour, Step({.temperature = 0, .logit_bias = {{3, 100.0F}}, .top_logprobs = 2}));
  ASSERT_TRUE(sampled.has_value());
  EXPECT_EQ(sampled->token, 3);
  EXPECT_NEAR(sampled->logprob, std::log(0.1F), 1e-5);
  ASSERT_EQ(sampled->top.size(), 2U);
  EXPECT_EQ(sampled->top[0].token, 0);
  EXPECT_NEAR(sampled->top[0].logprob, std::log(0.5F), 1e-5);
  EXPECT_EQ(sampled->top[1].token, 1);
}

TEST(Sampler, EveryKernelVersionChoosesTheSame) {
  Random random(2);
  std::vector<float> logits(1'003);
  for (float& x : logits) x = static_cast<float>(random.NextUniform() * 20 - 10);
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const SequenceStep step =
        Step({.temperature = 0.8F, .top_k = 40, .top_p = 0.95F, .seed = seed, .top_logprobs = 3});
    const auto expected = Try(logits, step, kernels::Isa::kReference);
    for (const auto isa : kernels::SupportedIsas()) {
      const auto sampled = Try(logits, step, isa);
      EXPECT_EQ(sampled->token, expected->token);
      EXPECT_EQ(sampled->logprob, expected->logprob);
    }
  }
}

TEST(Sampler, LogitsThatAreNoNumbersAreAnError) {
  for (const float bad : {NAN, kInf}) {
    for (const size_t at : {size_t{0}, size_t{17}, size_t{39}}) {
      std::vector<float> logits(40, 0);
      logits[at] = bad;
      EXPECT_THAT(Try(logits, Step({.temperature = 0})).error().message, HasSubstr("not finite"));
    }
  }
  EXPECT_FALSE(Try(std::vector<float>(40, -kInf), Step({})).has_value());
  EXPECT_EQ(Choose({-kInf, 1, -kInf}, Step({})), 1);  // a mask is no defect
}

}  // namespace
}  // namespace penstock
