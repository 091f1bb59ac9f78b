#include "fleet/placement/placement.h"

#include <gtest/gtest.h>

#include <vector>

namespace penstock {
namespace {

using enum Seat::Model;

constexpr Speed kFast{.step = 4e6, .prefill = 2e5, .decode = 5e5, .context = 100};
constexpr Speed kSlow{.step = 16e6, .prefill = 8e5, .decode = 2e6, .context = 400};

Seat Ready(uint32_t sequences, Speed speed = kFast) {
  return {.model = kReady, .sequences = sequences, .max_sequences = 64, .free_pages = 900, .speed = speed};
}

TEST(Placement, OfLikeEnginesTheLeastLoadedGoes) {
  const std::vector<Seat> seats = {Ready(10), Ready(4), Ready(9)};
  const Placement placement = Place(seats, {});
  EXPECT_EQ(placement.seat, 1u);
  EXPECT_EQ(placement.second, 2u);
  EXPECT_GT(placement.second_time, placement.time);
}

TEST(Placement, AFastEngineGetsMoreThanASlowOneBeforeTheyAreEven) {
  std::vector<Seat> seats = {Ready(0), Ready(0, kSlow)};
  const Need need{.prompt = 100, .output = 50};
  for (int i = 0; i < 40; ++i) {
    Seat& seat = seats[*Place(seats, need).seat];
    ++seat.sequences;
    seat.context += 125;
  }
  EXPECT_GE(seats[0].sequences, 24u);
  EXPECT_GE(seats[1].sequences, 2u) << "but the slow one is not left idle";
}

TEST(Placement, APrefixThatAnEngineHoldsCountsAsComputed) {
  std::vector<Seat> seats = {Ready(1), Ready(2)};
  const Need need{.prompt = 1000, .output = 10};
  EXPECT_EQ(Place(seats, need).seat, 0u);
  seats[1].cached = 960;
  EXPECT_EQ(Place(seats, need).seat, 1u);
}

TEST(Placement, PromptsThatWaitToBeComputedCount) {
  std::vector<Seat> seats = {Ready(2), Ready(2)};
  seats[0].prefill = 5000;
  EXPECT_EQ(Place(seats, {.prompt = 10}).seat, 1u);
}

TEST(Placement, WorkGoesWhereItIsRelativelyCheapest) {
  Speed prompts = kFast, answers = kFast;  // one chip computes prompts fast, the other answers
  prompts.step = 12e6;
  answers.prefill = 6e5;
  const std::vector<Seat> seats = {Ready(0, prompts), Ready(0, answers)};
  EXPECT_EQ(Place(seats, {.prompt = 4000, .output = 16}).seat, 0u);
  EXPECT_EQ(Place(seats, {.prompt = 40, .output = 400}).seat, 1u);
}

struct Case {
  Seat seat;
  Need need;
  Verdict verdict;
};

TEST(Placement, ATextGoesWhereThereIsMemoryForIt) {
  std::vector<Seat> seats = {Ready(0), Ready(50)};
  seats[0].longest = 100;
  seats[1].longest = 1000;
  EXPECT_EQ(Place(seats, {.longest = 100}).seat, 0u);
  EXPECT_EQ(Place(seats, {.longest = 200}).seat, 1u);
  EXPECT_EQ(Place(seats, {.longest = 2000}).verdict, Verdict::kTooLong);
  seats[1].model = kLoading;
  EXPECT_EQ(Place(seats, {.longest = 200}).verdict, Verdict::kLoading);
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
    EXPECT_EQ(Judge(c.seat, c.need), c.verdict);
    EXPECT_FALSE(VerdictText(c.verdict).empty());
  }
}

TEST(Placement, TellsTheClosestThatAnyEngineCame) {
  const std::vector<Seat> seats = {{.model = kFailed, .max_sequences = 4},
                                   {.model = kReady, .sequences = 4, .max_sequences = 4},
                                   {.model = kLoading, .max_sequences = 4}};
  const Placement placement = Place(seats, {});
  EXPECT_EQ(placement.seat, std::nullopt);
  EXPECT_EQ(placement.verdict, Verdict::kNoSequence);
  EXPECT_EQ(Place({}, {}).verdict, Verdict::kAbsent);
}

}  // namespace
}  // namespace penstock
