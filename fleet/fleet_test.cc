#include "fleet/fleet.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <thread>

#include "base/random.h"
#include "fleet/testing.h"

namespace penstock {
namespace {

using testing::FleetWorld;
using testing::ScriptedEngine;
using testing::Witness;

TEST(Fleet, AJobIsToldAllThatHappensToIt) {
  FleetWorld world;
  world.Serve("qwen");
  auto engine = world.ReadyEngine("cpu0", "qwen");
  auto [id, witness] = world.Submit(FleetWorld::NewJob("qwen"));
  EXPECT_TRUE(witness->events.empty()) << "nothing is called from within Submit";
  ASSERT_TRUE(world.Until([&] { return !engine->Submitted().empty(); }));
  engine->Note(id, wire::Note::ADMITTED);
  engine->Charge(id, 500, 3);
  engine->Token(id);
  engine->Note(id, wire::Note::PREEMPTED);
  engine->Note(id, wire::Note::RESUMED);
  engine->Token(id, wire::STOP);
  ASSERT_TRUE(world.Until([&] { return witness->finished == 1; }));
  using enum JobEvent;
  EXPECT_EQ(witness->events, (std::vector{kQueued, kSent, kAdmitted, kPaused, kResumed}));
  EXPECT_EQ(witness->tokens, 2u);
  EXPECT_EQ(witness->chip_time, 500);
  EXPECT_EQ(witness->computed, 3u);
  EXPECT_EQ(world.fleet->Running(), 0u);
  EXPECT_EQ(world.fleet->Queue().at(0).chip_ns, 500u);
  EXPECT_EQ(world.fleet->Stats().finished, 1u);
}

TEST(Fleet, AnEngineIsWelcomedBeforeAnythingElse) {
  FleetWorld world;
  world.Serve("qwen");
  auto engine = world.Engine("cpu0");
  ASSERT_TRUE(world.Until([&] { return engine->received.size() == 2; }));
  EXPECT_TRUE(engine->received[0].has_welcome());
  EXPECT_EQ(engine->frames, 2u) << "a frame of its own";
  EXPECT_EQ(engine->received[1].load().path(), "/models/qwen");
}

TEST(Fleet, EnginesAreToldHowMuchToLogNowAndWhenTheyConnect) {
  FleetWorld world;
  auto early = world.Engine("cpu0");
  world.fleet->SetLogLevel("debug");
  auto late = world.Engine("cpu1");
  for (const auto* engine : {early.get(), late.get()}) {
    ASSERT_TRUE(world.Until([&] { return engine->received.size() == 2; }));
    EXPECT_EQ(engine->received[1].log().level(), "debug");
  }
}

TEST(Fleet, AnEngineThatLeavesFinishesWhatItHasAndGetsNothingNew) {
  FleetWorld world;
  world.Serve("qwen");
  auto leaving = world.ReadyEngine("cpu0", "qwen");
  auto [first, first_witness] = world.Submit(FleetWorld::NewJob("qwen"));
  ASSERT_TRUE(world.Until([&] { return leaving->Submitted().size() == 1; }));
  auto staying = world.ReadyEngine("cpu1", "qwen");
  wire::FromEngine message;
  message.mutable_leaving();
  leaving->Send(message);
  ASSERT_TRUE(world.Until([&] { return leaving->received.back().has_drain(); }));
  auto [second, second_witness] = world.Submit(FleetWorld::NewJob("qwen"));
  ASSERT_TRUE(world.Until([&] { return staying->Submitted().size() == 1; }));
  EXPECT_TRUE(leaving->received.back().has_drain()) << "nothing comes after it";
  leaving->Token(first, wire::STOP);
  ASSERT_TRUE(world.Until([&] { return first_witness->finished == 1; }));
  leaving->Die();
  ASSERT_TRUE(world.Until([&] { return !world.fleet->Engines()[0].connected; }));
  EXPECT_EQ(world.fleet->Stats().engine_deaths, 0U);
}

TEST(Fleet, AnEngineThatWasSetAsideStaysSoAcrossItsRestartUntilItIsResumed) {
  FleetWorld world;
  world.Serve("qwen");
  auto engine = world.ReadyEngine("cpu0", "qwen");
  ASSERT_TRUE(world.fleet->SetDraining("cpu0", true).has_value());
  EXPECT_FALSE(world.fleet->Ready("qwen"));
  EXPECT_TRUE(world.fleet->Engines()[0].draining);
  engine->Die();
  ASSERT_TRUE(world.Until([&] { return !world.fleet->Engines()[0].connected; }));
  auto again = world.Engine("cpu0");
  again->State("qwen", wire::ModelState::READY);
  ASSERT_TRUE(world.Until([&] { return world.fleet->Engines()[0].connected; }));
  EXPECT_TRUE(world.fleet->Engines()[0].draining);
  auto [id, witness] = world.Submit(FleetWorld::NewJob("qwen"));
  ASSERT_TRUE(world.Until([&] { return witness->Heard(JobEvent::kQueued); }));
  EXPECT_TRUE(again->Submitted().empty());
  ASSERT_TRUE(world.fleet->SetDraining("cpu0", false).has_value());
  ASSERT_TRUE(world.Until([&] { return again->Submitted().size() == 1; }));
  EXPECT_TRUE(world.fleet->SetDraining("nobody", true).error().message.contains("there are: cpu0"));
}

TEST(Fleet, ATeamsTokensAreCounted) {
  FleetWorld world;
  world.Serve("qwen");
  auto engine = world.ReadyEngine("cpu0", "qwen");
  auto [id, witness] = world.Submit(FleetWorld::NewJob("qwen"));
  ASSERT_TRUE(world.Until([&] { return !engine->Submitted().empty(); }));
  engine->Token(id);
  engine->Token(id, wire::STOP);
  ASSERT_TRUE(world.Until([&] { return witness->finished == 1; }));
  EXPECT_EQ(world.fleet->Queue().at(0).tokens, 2u);
}

TEST(Fleet, AnEngineThatHasItsModelsKeepsThem) {
  FleetWorld world;
  world.Serve("qwen");
  wire::Hello hello = ScriptedEngine::Named("cpu0");
  for (const auto& [name, path] : {std::pair{"qwen", "/models/qwen"}, {"old", "/models/old"}}) {
    auto& state = *hello.add_models();
    state.set_name(name);
    state.set_path(path);
    state.set_state(wire::ModelState::READY);
  }
  auto engine = world.Engine(hello);
  ASSERT_TRUE(world.Until([&] { return engine->received.size() == 2; }));
  EXPECT_TRUE(world.fleet->Ready("qwen"));
  EXPECT_EQ(engine->received[1].unload().name(), "old") << "what is served no more goes";
  EXPECT_FALSE(world.fleet->Ready("old"));
}

TEST(Fleet, AModelServedLaterIsLoadedByEnginesThatAreThere) {
  FleetWorld world;
  auto engine = world.Engine("cpu0");
  EXPECT_FALSE(world.fleet->AnyReady());
  world.Serve("qwen");
  ASSERT_TRUE(world.Until([&] { return engine->received.size() == 2; }));
  EXPECT_FALSE(world.fleet->Ready("qwen"));
  engine->State("qwen", wire::ModelState::READY);
  ASSERT_TRUE(world.Until([&] { return world.fleet->Ready("qwen"); }));
  EXPECT_TRUE(world.fleet->AnyReady());
  world.fleet->Withdraw("qwen");
  EXPECT_FALSE(world.fleet->Ready("qwen"));
  ASSERT_TRUE(world.Until([&] { return engine->received.size() == 3; }));
  EXPECT_TRUE(engine->received[2].has_unload());
}

TEST(Fleet, AJobWaitsForItsModelToBeReady) {
  FleetWorld world;
  world.Serve("qwen");
  auto [id, witness] = world.Submit(FleetWorld::NewJob("qwen"));
  auto engine = world.Engine("cpu0");
  engine->State("qwen", wire::ModelState::LOADING);
  world.Quiet();
  EXPECT_TRUE(engine->Submitted().empty());
  engine->State("qwen", wire::ModelState::READY);
  EXPECT_TRUE(world.Until([&] { return engine->Submitted() == std::vector{id}; }));
}

TEST(Fleet, RefusalsNameTheReasonAndTheWayOut) {
  FleetWorld world({.max_waiting = 2});
  const auto submit = [&](const char* model) {
    return world.fleet->Submit(FleetWorld::NewJob(model), std::make_shared<Witness>());
  };
  EXPECT_EQ(submit("qwen").error().code, Code::kNotFound);
  world.Serve("qwen");
  const auto unknown = submit("gpt").error();
  EXPECT_EQ(unknown.code, Code::kNotFound);
  EXPECT_NE(unknown.message.find("qwen"), std::string::npos) << unknown.message;
  EXPECT_TRUE(submit("qwen"));
  EXPECT_TRUE(submit("qwen"));
  EXPECT_EQ(submit("qwen").error().code, Code::kOverloaded);
  world.fleet->SetMaxWaiting(3);
  EXPECT_TRUE(submit("qwen"));
  world.fleet->Drain([] {});
  EXPECT_EQ(submit("qwen").error().code, Code::kUnavailable);
  EXPECT_EQ(world.fleet->Stats().refused, 4u);
}

TEST(Fleet, AModelThatCannotBeLoadedFailsItsJobsWithTheReason) {
  FleetWorld world;
  world.Serve("qwen");
  auto one = world.Engine("cpu0"), two = world.Engine("cpu1");
  auto [id, witness] = world.Submit(FleetWorld::NewJob("qwen"));
  one->State("qwen", wire::ModelState::FAILED, "tensor blk.3 is short");
  world.Quiet();
  EXPECT_FALSE(witness->error) << "the other engine may still load it";
  two->State("qwen", wire::ModelState::FAILED, "tensor blk.3 is short");
  ASSERT_TRUE(world.Until([&] { return witness->error.has_value(); }));
  EXPECT_EQ(witness->error->code, Code::kUnavailable);
  EXPECT_NE(witness->error->message.find("blk.3"), std::string::npos);
  const auto next = world.fleet->Submit(FleetWorld::NewJob("qwen"), std::make_shared<Witness>());
  EXPECT_EQ(next.error().code, Code::kUnavailable);
}

TEST(Fleet, WithdrawingAModelFailsWhatWaitsForIt) {
  FleetWorld world;
  world.Serve("qwen");
  auto [id, witness] = world.Submit(FleetWorld::NewJob("qwen"));
  world.fleet->Withdraw("qwen");
  ASSERT_TRUE(world.Until([&] { return witness->error.has_value(); }));
  EXPECT_EQ(witness->error->code, Code::kNotFound);
}

TEST(Fleet, NoTextGoesOutsideTheOrganisationUnlessItsTeamAllowsIt) {
  FleetWorld world;
  world.Serve("m");
  wire::Hello hello = ScriptedEngine::Named("far");
  hello.set_external(true);
  hello.mutable_abilities()->set_wants_text(true);
  auto far = world.Engine(hello);
  far->State("m", wire::ModelState::READY);
  far->Pages(1000);
  ASSERT_TRUE(world.Until([&] { return world.fleet->Ready("m"); }));
  EXPECT_TRUE(world.fleet->WantsText());
  const auto refused = world.fleet->Submit(FleetWorld::NewJob("m"), std::make_shared<Witness>());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kForbidden);
  EXPECT_NE(refused.error().message.find("penstock team set team1 --external yes"), std::string::npos);

  Job allowed = FleetWorld::NewJob("m");
  allowed.external_allowed = true;
  const auto [id, sent] = world.Submit(std::move(allowed));
  ASSERT_TRUE(world.Until([&] { return sent->Heard(JobEvent::kSent); }));
  far->Token(id, wire::STOP);

  // Fail-over included: what an engine inside began does not go on outside.
  auto near = world.ReadyEngine("near", "m");
  const auto [other, witness] = world.Submit(FleetWorld::NewJob("m"));
  ASSERT_TRUE(world.Until([&] { return witness->Heard(JobEvent::kSent); }));
  near.reset();
  ASSERT_TRUE(world.Until([&] { return witness->Heard(JobEvent::kRequeued); }));
  world.Quiet();
  EXPECT_EQ(std::ranges::count(witness->events, JobEvent::kSent), 1);
  EXPECT_EQ(world.View("far").sent, 0U);
}

TEST(Fleet, AnEngineGetsNoMoreThanItHasSequencesFor) {
  FleetWorld world;
  world.Serve("qwen");
  auto engine = world.ReadyEngine("cpu0", "qwen", 2);
  std::vector<std::pair<JobId, std::shared_ptr<Witness>>> jobs;
  for (int i = 0; i < 5; ++i) jobs.push_back(world.Submit(FleetWorld::NewJob("qwen")));
  world.Quiet();
  EXPECT_EQ(engine->Submitted().size(), 2u);
  EXPECT_EQ(world.fleet->Waiting(), 3u);
  engine->Token(jobs[0].first, wire::LENGTH);
  ASSERT_TRUE(world.Until([&] { return engine->Submitted().size() == 3; }));
  EXPECT_EQ(world.fleet->Waiting(), 2u);
}

TEST(Fleet, AJobOfSeveralChoicesTakesAsManySequencesAndEndsWithTheLast) {
  FleetWorld world;
  world.Serve("qwen");
  auto engine = world.ReadyEngine("cpu0", "qwen", 4);
  Job job = FleetWorld::NewJob("qwen");
  job.submit.set_choices(3);
  auto [id, witness] = world.Submit(std::move(job));
  Job pair = FleetWorld::NewJob("qwen");
  pair.submit.set_choices(2);
  auto [second, unused] = world.Submit(std::move(pair));
  world.Quiet();
  EXPECT_EQ(engine->Submitted(), std::vector{id}) << "3 + 2 are more than 4";
  for (uint32_t choice = 0; choice < 3; ++choice) {
    EXPECT_EQ(world.View("cpu0").sent, choice == 0 ? 1u : 2u);
    engine->Token(id, wire::STOP, choice);
    ASSERT_TRUE(world.Until([&] { return witness->finished == choice + 1; }));
    world.Quiet();
  }
  EXPECT_EQ(engine->Submitted(), (std::vector{id, second}));
  EXPECT_EQ(world.View("cpu0").sent, 1u);
}

TEST(Fleet, PromptsThatWereSentCountAgainstPagesUntilTheyAreAdmitted) {
  FleetWorld world;
  world.Serve("qwen");
  auto engine = world.ReadyEngine("cpu0", "qwen", 16);
  engine->Pages(10);
  ASSERT_TRUE(world.Until([&] { return world.View("cpu0").load.free_pages() == 10; }));
  std::vector<JobId> ids;
  for (int i = 0; i < 3; ++i)
    ids.push_back(world.Submit(FleetWorld::NewJob("qwen", 1, 4 * kPageTokens)).first);
  world.Quiet();
  EXPECT_EQ(engine->Submitted().size(), 2u) << "two of 4 pages fit into 10";
  wire::StepReport step;
  step.add_notes()->set_request(ids[0]);
  step.mutable_load()->set_free_pages(8);  // admitted; prefix pages were shared: it took 2
  engine->Report(step);
  EXPECT_TRUE(world.Until([&] { return engine->Submitted().size() == 3; })) << "8 - 4 promised";
}

TEST(Fleet, TheLeastLoadedEngineGetsTheJob) {
  FleetWorld world;
  world.Serve("qwen");
  auto one = world.ReadyEngine("cpu0", "qwen", 4), two = world.ReadyEngine("cpu1", "qwen", 4);
  for (int i = 0; i < 6; ++i) world.Submit(FleetWorld::NewJob("qwen"));
  world.Quiet();
  EXPECT_EQ(one->Submitted().size(), 3u);
  EXPECT_EQ(two->Submitted().size(), 3u);
}

TEST(Fleet, ManyJobsOfOneTurnLeaveInOneFrame) {
  FleetWorld world;
  world.Serve("qwen");
  auto engine = world.ReadyEngine("cpu0", "qwen", 64);
  const size_t before = engine->frames;
  for (int i = 0; i < 64; ++i) world.Submit(FleetWorld::NewJob("qwen"));
  ASSERT_TRUE(world.Until([&] { return engine->Submitted().size() == 64; }));
  EXPECT_EQ(engine->frames - before, 1u);
}

TEST(Fleet, LongPromptsAreSplitOverFrames) {
  FleetWorld world;
  world.Serve("qwen");
  auto engine = world.ReadyEngine("cpu0", "qwen", 64);
  engine->Pages(1'000'000'000);
  ASSERT_TRUE(world.Until([&] { return world.View("cpu0").load.free_pages() == 1'000'000'000; }));
  const size_t before = engine->frames;
  for (int i = 0; i < 16; ++i) world.Submit(FleetWorld::NewJob("qwen", 1, 300'000));
  ASSERT_TRUE(world.Until([&] { return engine->Submitted().size() == 16; }));
  EXPECT_GT(engine->frames - before, 4u);
}

TEST(Fleet, TeamsShareAnEngineByMeasuredChipTime) {
  FleetWorld world;
  world.Serve("qwen");
  auto engine = world.ReadyEngine("cpu0", "qwen", 1);
  // Team 2's jobs are 4 times as dear: it gets a quarter as many through.
  std::map<JobId, uint64_t> team_of;
  std::vector<std::shared_ptr<Witness>> witnesses;
  for (int i = 0; i < 200; ++i) {
    for (uint64_t team = 1; team <= 2; ++team) {
      auto [id, witness] = world.Submit(FleetWorld::NewJob("qwen", team));
      team_of[id] = team;
      witnesses.push_back(witness);
    }
  }
  std::map<uint64_t, int> done;
  for (size_t i = 0; i < 100; ++i) {
    ASSERT_TRUE(world.Until([&] { return engine->Submitted().size() == i + 1; }));
    const JobId id = engine->Submitted().back();
    engine->Charge(id, team_of[id] == 1 ? kSecond : 4 * kSecond);
    engine->Token(id, wire::STOP);
    ++done[team_of[id]];
  }
  EXPECT_NEAR(done[1], 80, 4);
  EXPECT_NEAR(done[2], 20, 4);
}

TEST(Fleet, NothingIsHeardAfterCancel) {
  FleetWorld world;
  world.Serve("qwen");
  auto engine = world.ReadyEngine("cpu0", "qwen", 1);
  auto [running, one] = world.Submit(FleetWorld::NewJob("qwen"));
  auto [waiting, two] = world.Submit(FleetWorld::NewJob("qwen"));
  ASSERT_TRUE(world.Until([&] { return engine->Submitted().size() == 1; }));
  one->on_anything = two->on_anything = [] { ADD_FAILURE() << "after Cancel"; };
  world.fleet->Cancel(running);
  world.fleet->Cancel(waiting);
  world.fleet->Cancel(99);
  EXPECT_EQ(world.fleet->Running() + world.fleet->Waiting(), 0u);
  engine->Token(running);
  engine->Charge(running, 700);
  ASSERT_TRUE(world.Until([&] { return world.fleet->Queue().at(0).chip_ns == 700; }))
      << "its chip time still counts";
  const auto is_cancel = [](const auto& message) { return message.has_cancel(); };
  ASSERT_TRUE(world.Until([&] { return engine->Count(is_cancel) > 0; }));
  EXPECT_EQ(engine->Count(is_cancel), 1u) << "the engine never knew the other";
  EXPECT_EQ(engine->received.back().cancel().request(), running);

  auto [next, three] = world.Submit(FleetWorld::NewJob("qwen"));
  world.Quiet();
  EXPECT_EQ(engine->Submitted().size(), 1u) << "its place is taken until the engine says that it ended";
  engine->Token(running, wire::CANCELLED);
  EXPECT_TRUE(world.Until([&] { return engine->Submitted().size() == 2; }));
}

TEST(Fleet, AnEngineThatNeverConfirmsACancelGetsItsPlaceBackAnyway) {
  FleetWorld world;
  world.Serve("qwen");
  auto engine = world.ReadyEngine("cpu0", "qwen", 1);
  auto [id, witness] = world.Submit(FleetWorld::NewJob("qwen"));
  ASSERT_TRUE(world.Until([&] { return engine->Submitted().size() == 1; }));
  world.fleet->Cancel(id);
  world.clock.Advance(6 * kSecond);
  engine->Pages(1000);
  ASSERT_TRUE(world.Until([&] { return world.View("cpu0").sent == 0; }));
}

TEST(Fleet, AJobMayBeCancelledFromEveryCallback) {
  for (int stage = 1; stage <= 6; ++stage) {
    FleetWorld world;
    world.Serve("qwen");
    auto engine = world.ReadyEngine("cpu0", "qwen", 1);
    auto [id, witness] = world.Submit(FleetWorld::NewJob("qwen"));
    int heard = 0;
    witness->on_anything = [&, id = id] {
      if (++heard == stage) world.fleet->Cancel(id);
      EXPECT_LE(heard, stage);
    };
    engine->on_message = [&](const wire::ToEngine& message) {
      if (!message.has_submit()) return;
      wire::StepReport step;
      step.add_notes()->set_request(id);
      step.add_charges()->set_request(id);
      for (int i = 0; i < 3; ++i) {
        auto& event = *step.add_tokens();
        event.set_request(id);
        event.set_new_tokens(1);
        if (i == 2) event.set_finish(wire::STOP);
      }
      engine->Report(step);
    };
    ASSERT_TRUE(world.Until([&] { return heard == stage; }));
    world.Quiet();
    EXPECT_EQ(world.fleet->Running(), 0u);
  }
}

TEST(Fleet, CreditsGoToTheEngineThatRunsTheJob) {
  FleetWorld world;
  world.Serve("qwen");
  auto engine = world.ReadyEngine("cpu0", "qwen");
  auto [id, witness] = world.Submit(FleetWorld::NewJob("qwen"));
  ASSERT_TRUE(world.Until([&] { return engine->Submitted().size() == 1; }));
  world.fleet->Grant(id, 0, 16);
  world.fleet->Grant(id, 0, 4);
  const size_t before = engine->frames;
  ASSERT_TRUE(world.Until([&] { return engine->Count([](const auto& m) { return m.has_credit(); }) == 2; }));
  EXPECT_EQ(engine->frames - before, 1u);
  EXPECT_EQ(engine->received.back().credit().tokens(), 4u);
}

TEST(Fleet, AJobThatAnEngineCannotDoGoesToOneThatCan) {
  FleetWorld world;
  world.Serve("qwen");
  const auto refuse = [](ScriptedEngine& engine, uint64_t id) {
    wire::StepReport step;
    auto& event = *step.add_tokens();
    event.set_request(id);
    event.set_finish(wire::ERROR);
    SetError({Code::kUnsupported, "the upstream cannot do top_k", Reason::kUnsupportedField}, event);
    engine.Report(step);
  };
  auto one = world.ReadyEngine("cpu0", "qwen");
  auto [id, witness] = world.Submit(FleetWorld::NewJob("qwen"));
  ASSERT_TRUE(world.Until([&] { return one->Submitted().size() == 1; }));
  auto two = world.ReadyEngine("cpu1", "qwen");
  refuse(*one, id);
  ASSERT_TRUE(world.Until([&] { return two->Submitted().size() == 1; }));
  EXPECT_TRUE(witness->Heard(JobEvent::kRequeued));
  EXPECT_EQ(world.View("cpu0").health, world.View("cpu1").health) << "it is no worse for it";
  refuse(*two, two->Submitted()[0]);
  ASSERT_TRUE(
      world.Until([&] { return witness->error.has_value(); }));  // and then it is the client's to know
  EXPECT_EQ(one->Submitted().size(), 1U);
  EXPECT_EQ(world.fleet->Running() + world.fleet->Waiting(), 0U);
}

// ---- deaths ----

TEST(Fleet, AJobThatEmittedNothingIsRunElsewhereUnseen) {
  FleetWorld world;
  world.Serve("qwen");
  auto one = world.ReadyEngine("cpu0", "qwen");
  std::vector<std::pair<JobId, std::shared_ptr<Witness>>> jobs;
  for (int i = 0; i < 3; ++i) jobs.push_back(world.Submit(FleetWorld::NewJob("qwen")));
  ASSERT_TRUE(world.Until([&] { return one->Submitted().size() == 3; }));
  one->Note(jobs[0].first, wire::Note::ADMITTED);
  one->Charge(jobs[0].first, 100);
  world.Quiet();
  one->Die();
  ASSERT_TRUE(world.Until([&] { return world.fleet->Waiting() == 3; }));
  EXPECT_FALSE(world.View("cpu0").connected);
  auto two = world.ReadyEngine("cpu1", "qwen");
  ASSERT_TRUE(world.Until([&] { return two->Submitted().size() == 3; }));
  // The number of the attempt is in the highest byte.
  std::vector<uint64_t> again;
  for (const uint64_t id : two->Submitted()) again.push_back(id & 0xff'ffff'ffff'ffff);
  EXPECT_EQ(again, one->Submitted()) << "in their old order";
  for (const uint64_t id : two->Submitted()) two->Token(id, wire::STOP);
  for (const auto& [id, witness] : jobs) {
    ASSERT_TRUE(world.Until([&, w = witness] { return w->finished == 1; }));
    EXPECT_FALSE(witness->error);
    EXPECT_TRUE(witness->Heard(JobEvent::kRequeued));
  }
  EXPECT_EQ(world.fleet->Stats().requeued, 3u);
}

TEST(Fleet, AJobThatHasEmittedEndsWithAClearError) {
  FleetWorld world;
  world.Serve("qwen");
  auto engine = world.ReadyEngine("cpu0", "qwen");
  auto [id, witness] = world.Submit(FleetWorld::NewJob("qwen"));
  ASSERT_TRUE(world.Until([&] { return engine->Submitted().size() == 1; }));
  engine->Token(id);
  ASSERT_TRUE(world.Until([&] { return witness->tokens == 1; }));
  engine->Die();
  ASSERT_TRUE(world.Until([&] { return witness->error.has_value(); }));
  EXPECT_EQ(witness->error->code, Code::kUnavailable);
  EXPECT_NE(witness->error->message.find("cpu0"), std::string::npos);
  EXPECT_EQ(world.fleet->Running(), 0u);
}

TEST(Fleet, AJobThatKillsEnginesIsGivenUp) {
  FleetWorld world({.max_requeues = 2});
  world.Serve("qwen");
  auto [id, witness] = world.Submit(FleetWorld::NewJob("qwen"));
  for (int death = 0; death < 3; ++death) {
    EXPECT_FALSE(witness->error);
    auto engine = world.ReadyEngine("cpu0", "qwen");
    ASSERT_TRUE(world.Until([&] { return engine->Submitted().size() == 1; }));
    engine->Die();
    ASSERT_TRUE(world.Until([&] { return !world.View("cpu0").connected; }));
  }
  ASSERT_TRUE(world.Until([&] { return witness->error.has_value(); }));
  EXPECT_NE(witness->error->message.find("3 engines"), std::string::npos) << witness->error->message;
}

TEST(Fleet, ASilentEngineIsTakenAsDead) {
  FleetWorld world;
  world.Serve("qwen");
  auto silent = world.ReadyEngine("cpu0", "qwen"), alive = world.ReadyEngine("cpu1", "qwen");
  for (int i = 0; i < 12; ++i) {
    world.clock.Advance(kSecond);
    alive->Pages(1000);
    world.Quiet();
    ASSERT_TRUE(world.Until([&, ticks = 0]() mutable { return world.io.run_one() > 0 && ++ticks > 5; }));
  }
  EXPECT_FALSE(world.View("cpu0").connected);
  EXPECT_TRUE(world.View("cpu1").connected);
  EXPECT_TRUE(world.Until([&] { return silent->closed; }));
}

// If the gateway itself was stopped for a while, the engines' silence says nothing.
TEST(Fleet, AGatewayThatSleptDoesNotBlameItsEngines) {
  FleetWorld world;
  world.Serve("qwen");
  auto engine = world.ReadyEngine("cpu0", "qwen");
  world.clock.Advance(3600 * kSecond);
  for (int ticks = 0; ticks < 10; ++ticks) world.io.run_one();
  EXPECT_TRUE(world.View("cpu0").connected);
}

TEST(Fleet, AReconnectedEngineReplacesItsFormerSelf) {
  FleetWorld world;
  world.Serve("qwen");
  auto before = world.ReadyEngine("cpu0", "qwen");
  auto [id, witness] = world.Submit(FleetWorld::NewJob("qwen"));
  ASSERT_TRUE(world.Until([&] { return before->Submitted().size() == 1; }));
  auto after = world.ReadyEngine("cpu0", "qwen");
  ASSERT_TRUE(world.Until([&] { return before->closed; }));
  EXPECT_EQ(world.fleet->Engines().size(), 1u);
  EXPECT_TRUE(world.Until([&] { return after->Submitted().size() == 1; }));
}

TEST(Fleet, PeersThatDoNotKeepToTheProtocolAreLeft) {
  FleetWorld world;
  world.Serve("qwen");
  wire::Hello newer = ScriptedEngine::Named("cpu9");
  newer.set_protocol(99);
  EXPECT_TRUE(world.Engine(newer)->closed);

  auto garbage = world.ReadyEngine("cpu0", "qwen");
  garbage->SendBytes("\xff\xff\xff\xff");
  EXPECT_TRUE(world.Until([&] { return garbage->closed; })) << "an impossible length";
  auto unreadable = world.ReadyEngine("cpu1", "qwen");
  unreadable->SendBytes(std::string("\x03\0\0\0\x0a\x7f\x01", 7));
  EXPECT_TRUE(world.Until([&] { return unreadable->closed; }));
  auto impolite = world.ReadyEngine("cpu2", "qwen");
  wire::FromEngine again;
  *again.mutable_hello() = ScriptedEngine::Named("cpu2");
  impolite->Send(again);
  EXPECT_TRUE(world.Until([&] { return impolite->closed; })) << "a second hello";
}

TEST(Fleet, ReportsOnUnknownJobsAreIgnored) {
  FleetWorld world;
  world.Serve("qwen");
  auto engine = world.ReadyEngine("cpu0", "qwen"), other = world.ReadyEngine("cpu1", "qwen");
  auto [id, witness] = world.Submit(FleetWorld::NewJob("qwen"));
  world.Quiet();
  auto& stranger = engine->Submitted().empty() ? *engine : *other;
  stranger.Token(id, wire::STOP);
  stranger.Charge(id, 100);
  stranger.Note(77, wire::Note::ADMITTED);
  world.Quiet();
  EXPECT_EQ(witness->tokens, 0u) << "only the engine that has the job speaks for it";
  EXPECT_EQ(witness->chip_time, 0);
}

// ---- time and ends ----

TEST(Fleet, AJobThatWaitedTooLongIsToldWhy) {
  FleetWorld world;
  world.Serve("qwen");
  Job job = FleetWorld::NewJob("qwen");
  job.deadline = world.clock.Monotonic() + 5 * kSecond;
  auto [unconnected, one] = world.Submit(job);
  world.clock.Advance(4 * kSecond);
  for (int ticks = 0; ticks < 5; ++ticks) world.io.run_one();
  EXPECT_FALSE(one->error);
  world.clock.Advance(2 * kSecond);
  ASSERT_TRUE(world.Until([&] { return one->error.has_value(); }));
  EXPECT_EQ(one->error->code, Code::kUnavailable);
  EXPECT_NE(one->error->message.find("no engine is connected"), std::string::npos) << one->error->message;

  auto engine = world.ReadyEngine("cpu0", "qwen", 1);
  auto [running, two] = world.Submit(FleetWorld::NewJob("qwen"));
  job.deadline = world.clock.Monotonic() + 5 * kSecond;
  auto [waiting, three] = world.Submit(job);
  world.Quiet();
  world.clock.Advance(6 * kSecond);
  ASSERT_TRUE(world.Until([&] { return three->error.has_value(); }));
  EXPECT_EQ(three->error->code, Code::kOverloaded);
  EXPECT_FALSE(two->error) << "only waiting is limited";
  EXPECT_EQ(world.fleet->Waiting(), 0u);
  EXPECT_EQ(world.fleet->Stats().timed_out, 2u);
}

TEST(Fleet, DrainingFinishesWhatIsThere) {
  FleetWorld world;
  world.Serve("qwen");
  auto engine = world.ReadyEngine("cpu0", "qwen", 1);
  auto [running, one] = world.Submit(FleetWorld::NewJob("qwen"));
  auto [waiting, two] = world.Submit(FleetWorld::NewJob("qwen"));
  ASSERT_TRUE(world.Until([&] { return engine->Submitted().size() == 1; }));
  bool drained = false;
  world.fleet->Drain([&] { drained = true; });
  world.Quiet();
  EXPECT_FALSE(drained);
  engine->Token(running, wire::STOP);
  ASSERT_TRUE(world.Until([&] { return engine->Submitted().size() == 2; }));
  EXPECT_FALSE(drained);
  engine->Token(waiting, wire::STOP);
  EXPECT_TRUE(world.Until([&] { return drained; }));
}

TEST(Fleet, DrainingAnIdleFleetIsOverSoon) {
  FleetWorld world;
  bool drained = false;
  world.fleet->Drain([&] { drained = true; });
  EXPECT_FALSE(drained) << "never from within the call";
  EXPECT_TRUE(world.Until([&] { return drained; }));
}

TEST(Fleet, TheSocketIsOnlyForItsOwnerAndAStaleOneIsReplaced) {
  FleetWorld world;
  struct stat info{};
  ASSERT_EQ(::stat(world.path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);

  const auto second = MakeFleet(world.io, world.clock, {});
  EXPECT_EQ(second->Listen(world.path).error().code, Code::kConflict);
  EXPECT_EQ(second->Listen(world.path + std::string(200, 'x')).error().code, Code::kInvalid);

  const std::string stale = world.path + ".stale";
  {
    boost::asio::local::stream_protocol::acceptor left(world.io, stale);  // closed, its file stays
  }
  EXPECT_TRUE(second->Listen(stale));
}

// Random submits, cancels, deaths and finishes: every job ends once, and the accounts come out even.
TEST(Fleet, EveryJobEndsExactlyOnceWhateverHappens) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    Random random(seed);
    FleetWorld world({.max_waiting = 100000});
    world.Serve("qwen");
    std::vector<std::unique_ptr<ScriptedEngine>> engines;
    std::vector<std::vector<JobId>> at(3);
    const auto connect = [&](size_t i) {
      at[i].clear();
      wire::Hello hello = ScriptedEngine::Named("cpu" + std::to_string(i), 3);
      hello.mutable_abilities()->set_resume(seed % 2 == 0);
      if (seed % 3 != 0) hello.set_state("form");
      engines[i] = world.Engine(hello);
      engines[i]->State("qwen", wire::ModelState::READY);
      engines[i]->tells_ids = seed % 2 == 0;
      engines[i]->on_message = [&, i](const wire::ToEngine& message) {
        if (message.has_submit()) at[i].push_back(message.submit().request());
        if (message.has_release() && std::erase(at[i], message.release().request()) > 0)
          engines[i]->Released(message.release().request());
        if (!message.has_cancel()) return;
        engines[i]->Token(message.cancel().request(), wire::CANCELLED);
        std::erase(at[i], message.cancel().request());
      };
    };
    // Engines that often die are left alone for a while.
    const auto pass = [&](Nanos time) {
      world.clock.Advance(time);
      for (const auto& engine : engines) engine->Pages(1000);
      world.Quiet();
    };
    engines.resize(3);
    for (size_t i = 0; i < engines.size(); ++i) connect(i);
    std::map<JobId, std::shared_ptr<Witness>> jobs;
    std::vector<JobId> cancelled;
    for (int step = 0; step < 300; ++step) {
      const uint64_t dice = random.Below(20);
      const size_t i = random.Below(engines.size());
      if (dice < 8) {
        jobs.insert(world.Submit(FleetWorld::NewJob("qwen", random.Below(4))));
      } else if (dice < 10 && !jobs.empty()) {
        const auto victim = std::next(jobs.begin(), static_cast<long>(random.Below(jobs.size())));
        if (victim->second->finished == 0 && !victim->second->error) {
          world.fleet->Cancel(victim->first);
          cancelled.push_back(victim->first);
        }
      } else if (dice == 10) {
        engines[i]->Die();
        ASSERT_TRUE(world.Until([&] { return !world.View("cpu" + std::to_string(i)).connected; }));
        connect(i);
        pass(20 * kSecond);
      } else if (dice == 11) {
        ASSERT_TRUE(world.fleet->SetDraining("cpu" + std::to_string(i), random.Below(2) == 0));
      } else if (!at[i].empty()) {
        const JobId id = at[i][random.Below(at[i].size())];
        engines[i]->Charge(id, static_cast<Nanos>(random.Below(kSecond)));
        const bool last = random.Below(2) == 0;
        engines[i]->Token(id, last ? wire::STOP : wire::NONE);
        if (last) std::erase(at[i], id);
      }
      if (random.Below(3) == 0) world.Quiet();
    }
    for (size_t i = 0; i < engines.size(); ++i)
      ASSERT_TRUE(world.fleet->SetDraining("cpu" + std::to_string(i), false));
    while (world.fleet->Running() + world.fleet->Waiting() > 0) {
      pass(kSecond);
      for (size_t i = 0; i < engines.size(); ++i) {
        for (const JobId id : std::exchange(at[i], {})) engines[i]->Token(id, wire::STOP);
      }
    }
    world.Quiet();
    for (const auto& [id, witness] : jobs) {
      const bool was_cancelled = std::ranges::find(cancelled, id) != cancelled.end();
      ASSERT_EQ(witness->finished + witness->error.has_value(), was_cancelled ? 0u : 1u) << "seed " << seed;
    }
    for (const auto& team : world.fleet->Queue()) {
      EXPECT_EQ(team.running, 0u);
      EXPECT_EQ(team.waiting, 0u);
    }
    for (const auto& engine : world.fleet->Engines()) EXPECT_EQ(engine.sent, 0u) << "seed " << seed;
  }
}

}  // namespace
}  // namespace penstock
