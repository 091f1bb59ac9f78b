#include "sim/cloud_sim.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/random.h"

namespace penstock {
namespace {

using ::testing::IsEmpty;

// Any mixture of teams, sizes and faults.
SimOptions Mixture(uint64_t seed) {
  Random random(seed);
  SimOptions options{.seed = seed, .teams = {}};
  for (uint64_t i = 0; i <= 1 + random.Below(3); ++i) {
    options.teams.push_back({.requests_per_second = random.Below(4) == 0 ? 0 : 0.5 + 8 * random.NextUniform(),
                             .requests = static_cast<uint32_t>(5 + random.Below(20)),
                             .prompt = static_cast<int32_t>(5 + random.Below(200)),
                             .output = static_cast<int32_t>(5 + random.Below(40))});
  }
  options.engines = static_cast<uint32_t>(1 + random.Below(3));
  options.slots = static_cast<int32_t>(1 + random.Below(8));
  options.pages = static_cast<int32_t>(24 + random.Below(40));
  options.deaths_per_second = random.Below(2) == 0 ? 0.2 : 0;
  options.failed_steps = random.Below(3) == 0 ? 0.05 : 0;  // a job is tried three times
  options.cancelled = random.Below(2) == 0 ? 0.2 : 0;
  options.slow_readers = random.Below(2) == 0 ? 0.3 : 0;
  return options;
}

TEST(CloudSim, NothingIsLostWhateverHappens) {
  uint64_t deaths = 0, requeued = 0, preemptions = 0, failed = 0, cancelled = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const SimReport report = SimulateCloud(Mixture(seed));
    EXPECT_THAT(report.violations, IsEmpty()) << "seed " << seed;
    deaths += report.deaths;
    requeued += report.requeued;
    preemptions += report.preemptions;
    for (const SimTeam& team : report.teams) {
      EXPECT_EQ(team.sent, team.finished + team.failed + team.cancelled) << "seed " << seed;
      failed += team.failed;
      cancelled += team.cancelled;
    }
  }
  // Each kind of trouble really came.
  EXPECT_THAT((std::vector{deaths, requeued, preemptions, failed, cancelled}),
              testing::Each(testing::Gt(20U)));
}

TEST(CloudSim, ASeedReplaysExactly) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const SimReport first = SimulateCloud(Mixture(seed)), second = SimulateCloud(Mixture(seed));
    EXPECT_EQ(first.log_hash, second.log_hash);
    EXPECT_EQ(first.events, second.events);
  }
  EXPECT_NE(SimulateCloud(Mixture(1)).log_hash, SimulateCloud(Mixture(2)).log_hash);
}

// Three teams whose work would take minutes, one with long requests, one with short, one with many.
SimOptions Crowded(uint64_t seed) {
  return {.seed = seed,
          .teams = {{.requests_per_second = 0, .requests = 100, .prompt = 100, .output = 60},
                    {.requests_per_second = 0, .requests = 400, .prompt = 10, .output = 10},
                    {.requests_per_second = 0, .requests = 1500, .prompt = 30, .output = 20}},
          .engines = 1,
          .slots = 6};
}

TEST(CloudSim, WaitingTeamsGetEqualChipTimeHoweverMuchTheyAskFor) {
  for (uint64_t seed = 0; seed < 5; ++seed) {
    const SimReport report = SimulateCloud(Crowded(seed));
    EXPECT_THAT(report.violations, IsEmpty());
    // The bound means something: it is a small part of what each team got while all waited.
    Nanos least = report.teams[0].chip_time;
    for (const SimTeam& team : report.teams) least = std::min(least, team.chip_time);
    EXPECT_LT(report.unfairness_bound, least / 2);
    EXPECT_GT(report.unfairness, 0);
  }
}

TEST(CloudSim, AHeavyTeamDoesNotDelayALightOne) {
  SimOptions options{.seed = 3,
                     .teams = {{.requests_per_second = 0, .requests = 400, .prompt = 60, .output = 60},
                               {.requests_per_second = 0.5, .requests = 20, .prompt = 20, .output = 20}},
                     .engines = 1,
                     .slots = 4};
  const SimReport report = SimulateCloud(options);
  EXPECT_THAT(report.violations, IsEmpty());
  const Nanos light = report.teams[1].waited / 20, heavy = report.teams[0].waited / 400;
  EXPECT_LT(light * 20, heavy);
}

TEST(CloudSim, WeightsDivideChipTime) {
  SimOptions options = Crowded(1);
  options.teams = {options.teams[2], options.teams[2]};
  options.teams[0].weight = 3;
  const SimReport report = SimulateCloud(options);
  EXPECT_THAT(report.violations, IsEmpty());
  // When the heavier is done, the lighter has about a third behind it: it waited longer.
  EXPECT_GT(report.teams[1].waited, report.teams[0].waited * 3 / 2);
}

}  // namespace
}  // namespace penstock
