#include "fleet/pool/pool.h"

#include <gtest/gtest.h>

#include "fleet/pool/testing.h"

namespace penstock {
namespace {

using testing::AnswerLength;
using testing::Client;
using testing::FormulaEngine;
using testing::PoolWorld;

// A seed whose answer has at least so many tokens.
uint64_t SeedOfLength(uint32_t tokens) {
  uint64_t seed = 1;
  while (AnswerLength(seed) < tokens) ++seed;
  return seed;
}

struct ServingWorld : PoolWorld {
  explicit ServingWorld(PoolOptions options = {}) : PoolWorld(std::move(options)) {
    pool.Serve({.name = "m", .path = "/m"}, now);
    After();
  }
  FormulaEngine& Ready(const std::string& name, uint32_t max_sequences = 4) {
    FormulaEngine& engine = Connect(Named(name, max_sequences));
    Run(3);
    EXPECT_TRUE(pool.Ready("m"));
    return engine;
  }
};

TEST(Pool, AJobIsAnsweredToItsEnd) {
  ServingWorld world;
  world.Ready("e0");
  const JobId id = *world.Submit({.seed = SeedOfLength(20), .max_tokens = 20, .choices = 2, .credits = 4});
  world.Run();
  const Client& client = world.clients.at(id);
  EXPECT_EQ(client.ends, 1);
  EXPECT_EQ(client.choices[0].tokens, 20U);
  EXPECT_EQ(client.choices[0].finish, wire::LENGTH);
  EXPECT_NE(client.choices[1].finish, wire::NONE);
  EXPECT_EQ(world.wrong, "");
}

TEST(Pool, AFullEngineGetsNothingUnlessThePolicyLetsAJobPauseOthers) {
  for (const bool may_pause : {false, true}) {
    PoolOptions options;
    if (may_pause)
      options.may_pause = [](const JobRequest& job, const Candidate&) -> uint32_t {
        return job.tier > 0 ? 1 : 0;
      };
    ServingWorld world(std::move(options));
    FormulaEngine& engine = world.Ready("e0", 2);
    const auto submit = [&](uint8_t tier) {
      Job job;
      job.submit.set_model("m");
      job.submit.add_prompt(1);
      job.submit.set_max_tokens(1000);
      job.owner = {1, 7};
      job.tier = tier;
      const JobId id = *world.pool.Submit(std::move(job), world.now);
      world.clients[id].max_tokens = 1000;
      world.clients[id].choices.resize(1);
      world.After();
      world.Turn();
      return id;
    };
    for (int i = 0; i < 3; ++i) submit(0);
    EXPECT_EQ(world.pool.Running(), 2U);
    submit(1);
    submit(0);
    EXPECT_EQ(world.pool.Running(), 2U) << "it stands behind another of its team";
    while (!engine.in.empty()) engine.Obey();
    world.Cancel(3);  // which waited
    world.Turn();
    EXPECT_EQ(world.pool.Running(), may_pause ? 3U : 2U);
    EXPECT_EQ(world.wrong, "");
  }
}

TEST(Pool, ALimitGoesWithTheJobAndAfterIt) {
  ServingWorld world;
  FormulaEngine& engine = world.Ready("e0", 1);
  const uint64_t seed = SeedOfLength(100);
  const JobId first = *world.Submit({.seed = seed, .max_tokens = 100});
  world.Turn();
  const JobId second = *world.Submit({.seed = seed, .max_tokens = 100});
  world.Limit(first, 50);
  world.Limit(first, 30);
  world.Limit(first, 40);  // never raised
  world.Limit(second, 10);
  world.Run();
  EXPECT_EQ(world.clients.at(first).choices[0].tokens, 30U);
  EXPECT_EQ(world.clients.at(second).choices[0].tokens, 10U);
  EXPECT_EQ(world.clients.at(second).choices[0].finish, wire::LENGTH);
  EXPECT_TRUE(engine.requests.empty());
  EXPECT_EQ(world.wrong, "");
}

TEST(Pool, ALimitHoldsWhereverTheJobGoesOn) {
  ServingWorld world;
  FormulaEngine& first = world.Ready("e0");
  const JobId id = *world.Submit({.seed = SeedOfLength(100), .max_tokens = 100, .credits = 8});
  world.Turn();
  while (!first.in.empty()) first.Obey();
  first.Step(4);
  first.Step(4);
  world.DeliverAll(first.key);
  EXPECT_EQ(world.clients.at(id).choices[0].tokens, 4U);
  world.Limit(id, 11);
  world.Die(first);
  world.Ready("e1");
  world.Run();
  EXPECT_EQ(world.clients.at(id).choices[0].tokens, 11U);
  EXPECT_EQ(world.clients.at(id).ends, 1);
  EXPECT_EQ(world.wrong, "");
}

TEST(Pool, ThePlacementPolicyIsAnArgument) {
  PoolOptions options;
  options.place = [](std::span<const Candidate> candidates, const Need& need) {
    Placement placement;
    for (const Candidate& candidate : candidates) {
      if (Judge(candidate, need) == Verdict::kFits) placement.chosen = candidate;  // the last
    }
    return placement;
  };
  ServingWorld world(std::move(options));
  world.Ready("e0");
  FormulaEngine& last = world.Ready("e1");
  for (int i = 0; i < 3; ++i) (void)world.Submit({});
  world.Turn();
  while (!last.in.empty()) last.Obey();
  EXPECT_EQ(last.requests.size(), 3U);
}

TEST(Pool, TicksAreAskedForOneAfterTheOther) {
  Pool pool({}, 100 * kSecond);
  Nanos at = 0;
  int ticks = 0;
  const auto take = [&] {
    while (auto action = pool.Next()) {
      if (const auto* call = std::get_if<CallTick>(&*action)) {
        at = call->at;
        ++ticks;
      }
    }
  };
  take();
  EXPECT_EQ(at, 100 * kSecond + PoolOptions().tick);
  pool.Tick(at);
  take();
  EXPECT_EQ(ticks, 2);
  EXPECT_EQ(at, 100 * kSecond + 2 * PoolOptions().tick);
}

TEST(Assignment, AnEnginesTotalIsTheSumOfItsAssignments) {
  std::vector<Member*> touched;
  Member member(1, touched);
  Assignment one, two;
  one.Acquire(member, {.jobs = 1, .sequences = 2, .pages = 3, .prefill = 40, .context = 100});
  two.Acquire(member, {.jobs = 1, .sequences = 1, .pages = 5, .prefill = 7, .context = 9});
  one.PromptComputed(15);
  one.PromptAdmitted();
  one.ContextGrew(4);
  two.PromptComputed(1000);  // an engine that reports more than there was
  one.SequenceEnded();
  EXPECT_EQ(member.occupied(),
            (Occupancy{.jobs = 2, .sequences = 2, .pages = 5, .prefill = 25, .context = 113}));
  one.Release();
  one.Release();
  EXPECT_EQ(member.occupied(),
            (Occupancy{.jobs = 1, .sequences = 1, .pages = 5, .prefill = 0, .context = 9}));
  two.Release();
  EXPECT_EQ(member.occupied(), Occupancy());
}

}  // namespace
}  // namespace penstock
