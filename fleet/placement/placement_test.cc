#include "fleet/placement/placement.h"

#include <gtest/gtest.h>

#include <vector>

namespace penstock {
namespace {

using enum Candidate::Model;

constexpr Speed kFast{.step = 4e6, .prefill = 2e5, .decode = 5e5, .context = 100};
constexpr Speed kSlow{.step = 16e6, .prefill = 8e5, .decode = 2e6, .context = 400};

Candidate Ready(uint32_t sequences, Speed speed = kFast) {
  return {.model = kReady, .sequences = sequences, .max_sequences = 64, .free_pages = 900, .speed = speed};
}

// Place over candidates that are numbered from 0.
Placement PlaceNumbered(std::vector<Candidate> candidates, const Need& need) {
  for (size_t i = 0; i < candidates.size(); ++i) candidates[i].engine = static_cast<EngineKey>(i);
  return Place(candidates, need);
}
EngineKey Chosen(const std::vector<Candidate>& candidates, const Need& need) {
  return PlaceNumbered(candidates, need).chosen.value().engine;
}

TEST(Placement, OfLikeEnginesTheLeastLoadedGoes) {
  const std::vector<Candidate> candidates = {Ready(10), Ready(4), Ready(9)};
  const Placement placement = PlaceNumbered(candidates, {});
  EXPECT_EQ(placement.chosen.value().engine, 1u);
  EXPECT_EQ(placement.second.value().engine, 2u);
  EXPECT_GT(placement.second_time, placement.time);
}

TEST(Placement, AFastEngineGetsMoreThanASlowOneBeforeTheyAreEven) {
  std::vector<Candidate> candidates = {Ready(0), Ready(0, kSlow)};
  const Need need{.prompt = 100, .output = 50};
  for (int i = 0; i < 40; ++i) {
    Candidate& candidate = candidates[Chosen(candidates, need)];
    ++candidate.sequences;
    candidate.context += 125;
  }
  EXPECT_GE(candidates[0].sequences, 24u);
  EXPECT_GE(candidates[1].sequences, 2u) << "but the slow one is not left idle";
}

TEST(Placement, APrefixThatAnEngineHoldsCountsAsComputed) {
  std::vector<Candidate> candidates = {Ready(1), Ready(2)};
  const Need need{.prompt = 1000, .output = 10};
  EXPECT_EQ(Chosen(candidates, need), 0u);
  candidates[1].cached = 960;
  EXPECT_EQ(Chosen(candidates, need), 1u);
}

TEST(Placement, PromptsThatWaitToBeComputedCount) {
  std::vector<Candidate> candidates = {Ready(2), Ready(2)};
  candidates[0].prefill = 5000;
  EXPECT_EQ(Chosen(candidates, {.prompt = 10}), 1u);
}

TEST(Placement, WorkGoesWhereItIsRelativelyCheapest) {
  Speed prompts = kFast, answers = kFast;  // one chip computes prompts fast, the other answers
  prompts.step = 12e6;
  answers.prefill = 6e5;
  const std::vector<Candidate> candidates = {Ready(0, prompts), Ready(0, answers)};
  EXPECT_EQ(Chosen(candidates, {.prompt = 4000, .output = 16}), 0u);
  EXPECT_EQ(Chosen(candidates, {.prompt = 40, .output = 400}), 1u);
}

struct Case {
  Candidate candidate;
  Need need;
  Verdict verdict;
};

TEST(Placement, ATextGoesWhereThereIsMemoryForIt) {
  std::vector<Candidate> candidates = {Ready(0), Ready(50)};
  candidates[0].longest = 100;
  candidates[1].longest = 1000;
  EXPECT_EQ(Chosen(candidates, {.longest = 100}), 0u);
  EXPECT_EQ(Chosen(candidates, {.longest = 200}), 1u);
  EXPECT_EQ(Place(candidates, {.longest = 2000}).verdict, Verdict::kTooLong);
  candidates[1].model = kLoading;
  EXPECT_EQ(Place(candidates, {.longest = 200}).verdict, Verdict::kLoading);
}

TEST(Placement, SaysWhyAnEngineDoesNotFit) {
  const std::vector<Case> cases = {
      {{.model = kReady, .sequences = 3, .max_sequences = 4, .free_pages = 10}, {1, 10}, Verdict::kFits},
      {{.model = kReady, .sequences = 3, .max_sequences = 4, .free_pages = 10}, {2, 1}, Verdict::kNoSequence},
      {{.model = kReady, .sequences = 3, .max_sequences = 4, .free_pages = 10}, {1, 11}, Verdict::kNoPages},
      // Idle: the engine itself says what is too large.
      {{.model = kReady, .max_sequences = 4, .free_pages = 10}, {9, 99}, Verdict::kFits},
      {{.model = kReady, .max_sequences = 0}, {1, 1}, Verdict::kNoSequence},  // may run nothing now
      {{.model = kLoading, .max_sequences = 4, .free_pages = 10}, {1, 1}, Verdict::kLoading},
      {{.model = kFailed, .max_sequences = 4, .free_pages = 10}, {1, 1}, Verdict::kFailed},
      {{.model = kForbidden, .max_sequences = 4, .free_pages = 10}, {1, 1}, Verdict::kForbidden},
      {{.model = kAbsent, .max_sequences = 4, .free_pages = 10}, {1, 1}, Verdict::kAbsent},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(Judge(c.candidate, c.need), c.verdict);
    EXPECT_FALSE(VerdictText(c.verdict).empty());
  }
}

TEST(Placement, AFullEngineFitsIfItMayPauseOthers) {
  Candidate full{.model = kReady, .sequences = 4, .max_sequences = 4, .free_pages = 10};
  EXPECT_EQ(Judge(full, {.sequences = 2}), Verdict::kNoSequence);
  full.may_pause = 1;
  EXPECT_EQ(Judge(full, {.sequences = 2}), Verdict::kNoSequence);
  full.may_pause = 2;
  EXPECT_EQ(Judge(full, {.sequences = 2}), Verdict::kFits);
}

TEST(Placement, TellsTheClosestThatAnyEngineCame) {
  const std::vector<Candidate> candidates = {{.model = kFailed, .max_sequences = 4},
                                             {.model = kReady, .sequences = 4, .max_sequences = 4},
                                             {.model = kLoading, .max_sequences = 4}};
  const Placement placement = Place(candidates, {});
  EXPECT_FALSE(placement.chosen.has_value());
  EXPECT_EQ(placement.verdict, Verdict::kNoSequence);
  EXPECT_EQ(Place({}, {}).verdict, Verdict::kAbsent);
}

}  // namespace
}  // namespace penstock
