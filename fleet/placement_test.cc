#include "fleet/placement.h"

#include <gtest/gtest.h>

#include <vector>

namespace penstock {
namespace {

using enum Seat::Model;

TEST(Placement, TakesTheLeastLoadedEngineThatFits) {
  const std::vector<Seat> seats = {{kReady, 10, 64, 900}, {kReady, 4, 16, 900}, {kReady, 9, 64, 900}};
  EXPECT_EQ(Place(seats, {}).seat, 2u) << "9 of 64 is less than 10 of 64 and 4 of 16";
}

TEST(Placement, OfEquallyLoadedEnginesTheOneWithMorePagesGoes) {
  const std::vector<Seat> seats = {{kReady, 1, 8, 10}, {kReady, 2, 16, 30}, {kReady, 1, 8, 20}};
  EXPECT_EQ(Place(seats, {}).seat, 1u);
}

struct Case {
  Seat seat;
  Need need;
  Verdict verdict;
};

TEST(Placement, SaysWhyAnEngineDoesNotFit) {
  const std::vector<Case> cases = {
      {{kReady, 3, 4, 10}, {1, 10}, Verdict::kFits},
      {{kReady, 3, 4, 10}, {2, 1}, Verdict::kNoSequence},
      {{kReady, 3, 4, 10}, {1, 11}, Verdict::kNoPages},
      {{kReady, 0, 4, 10}, {9, 99}, Verdict::kFits},  // idle: the engine itself says what is too large
      {{kLoading, 0, 4, 10}, {1, 1}, Verdict::kLoading},
      {{kFailed, 0, 4, 10}, {1, 1}, Verdict::kFailed},
      {{kAbsent, 0, 4, 10}, {1, 1}, Verdict::kAbsent},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(Judge(c.seat, c.need), c.verdict);
    EXPECT_FALSE(VerdictText(c.verdict).empty());
  }
}

TEST(Placement, TellsTheClosestThatAnyEngineCame) {
  const std::vector<Seat> seats = {{kFailed, 0, 4, 10}, {kReady, 4, 4, 10}, {kLoading, 0, 4, 10}};
  const Placement placement = Place(seats, {});
  EXPECT_EQ(placement.seat, std::nullopt);
  EXPECT_EQ(placement.verdict, Verdict::kNoSequence);
  EXPECT_EQ(Place({}, {}).verdict, Verdict::kAbsent);
}

}  // namespace
}  // namespace penstock
