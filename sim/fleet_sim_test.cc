#include "sim/fleet_sim.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"

namespace penstock {
namespace {

ChipKind Fast(uint32_t count) {
  return {.name = "fast", .count = count, .decode = {{1, 9e6}, {64, 15e6}}, .context = 50, .prefill = 25e3};
}
ChipKind Slow(uint32_t count) {
  return {
      .name = "slow", .count = count, .decode = {{1, 35e6}, {64, 45e6}}, .context = 200, .prefill = 225e3};
}

FleetSimOptions Pool(FleetPolicy policy, double per_second, double deaths = 0.2) {
  FleetSimOptions options{.policy = policy, .kinds = {Fast(10), Slow(10)}, .deaths = deaths};
  Random random(7);
  Nanos at = 0;
  for (int i = 0; i < 4000; ++i) {
    at += static_cast<Nanos>(-std::log1p(-random.NextUniform()) / per_second * kSecond);
    options.requests.push_back({.at = at,
                                .team = static_cast<uint32_t>(random.Below(4)),
                                .prompt = 1 + static_cast<uint32_t>(random.Below(2000)),
                                .output = 1 + static_cast<uint32_t>(random.Below(300))});
  }
  return options;
}

TEST(FleetSim, EveryRequestEndsWhateverThePolicyAndTheDeaths) {
  for (const FleetPolicy policy :
       {FleetPolicy::kExpectedCost, FleetPolicy::kRoundRobin, FleetPolicy::kLeastConnections,
        FleetPolicy::kWeightedLeast, FleetPolicy::kTwoChoices, FleetPolicy::kFastest}) {
    const FleetSimReport report = SimulateFleet(Pool(policy, 100, 0.5));
    EXPECT_TRUE(report.violations.empty()) << PolicyName(policy) << ": " << report.violations.front();
    EXPECT_EQ(report.finished, 4000u) << PolicyName(policy);
    EXPECT_GT(report.deaths, 0u);
    EXPECT_GT(report.resumed, 0u);
  }
}

TEST(FleetSim, ASeedReplaysARun) {
  const auto a = SimulateFleet(Pool(FleetPolicy::kExpectedCost, 100)),
             b = SimulateFleet(Pool(FleetPolicy::kExpectedCost, 100));
  EXPECT_EQ(a.ended_at, b.ended_at);
  EXPECT_EQ(a.steps, b.steps);
  EXPECT_EQ(a.good, b.good);
}

TEST(FleetSim, UnequalChipsGetUnequalLoadAndPromptsGoWhereTheyAreCheap) {
  const FleetSimReport report = SimulateFleet(Pool(FleetPolicy::kExpectedCost, 60, 0));
  EXPECT_GT(report.kinds[0].requests, 2 * report.kinds[1].requests);
  const FleetSimReport blind = SimulateFleet(Pool(FleetPolicy::kRoundRobin, 60, 0));
  EXPECT_GT(report.good, blind.good);
  EXPECT_LT(report.first_token_p99, blind.first_token_p99);
}

TEST(FleetSim, StepsTakeWhatTheTableSays) {
  const ChipKind chip = Fast(1);
  EXPECT_DOUBLE_EQ(chip.StepTime(0, 1, 0), 9e6);
  EXPECT_DOUBLE_EQ(chip.StepTime(0, 0, 0), 9e6);
  EXPECT_NEAR(chip.StepTime(0, 32.5, 0), 12e6, 1);
  EXPECT_NEAR(chip.StepTime(100, 64, 1000), 15e6 + 50e3 + 2.5e6, 1);
  EXPECT_NEAR(chip.StepTime(0, 127, 0), 21e6, 1) << "beyond the table its slope goes on";
}

}  // namespace
}  // namespace penstock
