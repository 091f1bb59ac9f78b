// Jobs that go on at another engine with what was computed of them: of engines that are set aside or leave,
// and of engines that have no memory for a longer text.
#include <gtest/gtest.h>

#include "fleet/fleet.h"
#include "fleet/testing.h"

namespace penstock {
namespace {

using testing::FleetWorld;
using testing::ScriptedEngine;
using testing::Witness;

// Two engines that take over each other's sequences; what each is told, and a job that runs on the first.
struct MovingWorld : FleetWorld {
  explicit MovingWorld(uint32_t sequences = 4) {
    Serve("qwen");
    one = Mover("cpu0", sequences);
    std::tie(job, witness) = Submit(NewJob("qwen"));
    EXPECT_TRUE(Until([&] { return one->Submitted().size() == 1; }));
    one->Token(job);
    EXPECT_TRUE(Until([&] { return witness->tokens == 1; }));
  }
  std::unique_ptr<ScriptedEngine> Mover(const std::string& name, uint32_t sequences = 4,
                                        uint32_t context = 0) {
    wire::Hello hello = ScriptedEngine::Named(name, sequences);
    hello.set_state("form");
    hello.mutable_abilities()->set_resume(true);
    hello.mutable_abilities()->set_reclaim(true);
    auto engine = Engine(hello);
    engine->tells_ids = true;
    engine->State("qwen", wire::ModelState::READY, "", context);
    engine->Pages(1000);
    EXPECT_TRUE(Until([&] { return View(name).load.free_pages() == 1000; }));
    return engine;
  }
  static bool AskedToRelease(const ScriptedEngine& engine, uint64_t id) {
    return std::ranges::any_of(engine.received, [&](const auto& message) {
      return message.has_release() && message.release().request() == id;
    });
  }
  // What came since the `from`-th message, in order: "state", "submit", …
  static std::string Kinds(const ScriptedEngine& engine, size_t from) {
    std::string kinds;
    for (const auto& message : std::span(engine.received).subspan(from))
      kinds += message.has_state() ? "state " : message.has_submit() ? "submit " : "other ";
    return kinds;
  }

  std::unique_ptr<ScriptedEngine> one;
  JobId job = 0;
  std::shared_ptr<Witness> witness;
};

TEST(Moving, AnEngineThatIsSetAsideGivesItsJobsToOthersWithWhatWasComputed) {
  MovingWorld world;
  auto two = world.Mover("cpu1");
  const size_t before = two->received.size();
  ASSERT_TRUE(world.fleet->SetDraining("cpu0", true));
  ASSERT_TRUE(world.Until([&] { return MovingWorld::AskedToRelease(*world.one, world.job); }));
  world.fleet->Grant(world.job, 0, 5);
  world.one->Token(world.job);
  world.one->Released(world.job);
  ASSERT_TRUE(world.Until([&] { return two->Submitted().size() == 1; }));
  EXPECT_EQ(MovingWorld::Kinds(*two, before), "state state submit ");
  const wire::Submit& submit = two->received.back().submit();
  EXPECT_NE(submit.request(), world.job) << "each sending has a number of its own";
  EXPECT_EQ(submit.resume(0).ids_size(), 2) << "what was told on the way counts";
  EXPECT_EQ(two->received[before].state().request(), submit.request());
  EXPECT_EQ(two->received[before].state().data() + two->received[before + 1].state().data(), "part0part1");
  EXPECT_TRUE(world.witness->Heard(JobEvent::kRequeued));
  EXPECT_NE(world.witness->whys.back().find("takes over 3 computed tokens"), std::string::npos);
  EXPECT_EQ(world.View("cpu0").sent, 0U);
  EXPECT_EQ(world.fleet->Stats().moved, 1U);
  EXPECT_EQ(world.fleet->Stats().requeued, 0U) << "nothing failed";
  two->Token(submit.request(), wire::STOP);
  ASSERT_TRUE(world.Until([&] { return world.witness->finished == 1; }));
  EXPECT_EQ(world.witness->tokens, 3U);
  EXPECT_EQ(world.View("cpu1").sent, 0U);
}

TEST(Moving, AnEngineThatLeavesIsAskedForItsJobsOneAfterTheOther) {
  MovingWorld world;
  auto [second, witness] = world.Submit(FleetWorld::NewJob("qwen"));
  ASSERT_TRUE(world.Until([&] { return world.one->Submitted().size() == 2; }));
  auto two = world.Mover("cpu1");
  ASSERT_TRUE(world.fleet->Restart("cpu0"));
  ASSERT_TRUE(world.Until([&] { return MovingWorld::AskedToRelease(*world.one, world.job); }));
  world.Quiet();
  EXPECT_FALSE(MovingWorld::AskedToRelease(*world.one, second));
  world.one->Released(world.job);
  ASSERT_TRUE(world.Until([&] { return MovingWorld::AskedToRelease(*world.one, second); }));
  world.one->Released(second, 0, 0);  // it had computed nothing yet
  ASSERT_TRUE(world.Until([&] { return two->Submitted().size() == 2; }));
  EXPECT_EQ(two->received.back().submit().resume_size(), 0);
}

TEST(Moving, AJobStaysWhereNobodyCanTakeItOver) {
  MovingWorld world;
  auto other_form = world.ReadyEngine("cpu1", "qwen");  // says none
  ASSERT_TRUE(world.fleet->SetDraining("cpu0", true));
  world.Quiet();
  EXPECT_FALSE(MovingWorld::AskedToRelease(*world.one, world.job));
  auto late = world.Mover("cpu2");
  ASSERT_TRUE(world.Until([&] { return MovingWorld::AskedToRelease(*world.one, world.job); }));
  world.one->Token(world.job, wire::STOP);  // it ended meanwhile
  ASSERT_TRUE(world.Until([&] { return world.witness->finished == 1; }));
  EXPECT_EQ(world.View("cpu2").sent, 0U);
}

TEST(Moving, SequencesAreReservedForAJobThatIsOnItsWay) {
  MovingWorld world(1);
  auto two = world.Mover("cpu1", 1);
  ASSERT_TRUE(world.fleet->SetDraining("cpu0", true));
  auto [other, witness] = world.Submit(FleetWorld::NewJob("qwen"));
  world.Quiet();
  EXPECT_TRUE(two->Submitted().empty());
  world.one->Released(world.job);
  ASSERT_TRUE(world.Until([&] { return two->Submitted().size() == 1; }));
  two->Token(two->Submitted()[0], wire::STOP);
  ASSERT_TRUE(world.Until([&] { return two->Submitted().size() == 2; }));
  EXPECT_EQ(two->Submitted()[1], other);
}

TEST(Moving, AJobWhoseNextEngineIsLostOnTheWayWaitsForAnother) {
  MovingWorld world;
  auto two = world.Mover("cpu1");
  ASSERT_TRUE(world.fleet->SetDraining("cpu0", true));
  ASSERT_TRUE(world.Until([&] { return MovingWorld::AskedToRelease(*world.one, world.job); }));
  two->Die();
  ASSERT_TRUE(world.Until([&] { return !world.View("cpu1").connected; }));
  world.one->Released(world.job);
  ASSERT_TRUE(world.Until([&] { return world.fleet->Waiting() == 1; }));
  auto three = world.Mover("cpu2");
  ASSERT_TRUE(world.Until([&] { return three->Submitted().size() == 1; }));
  EXPECT_TRUE(std::ranges::any_of(three->received, [](const auto& message) { return message.has_state(); }));
}

TEST(Moving, AJobMayBeCancelledWhileItIsOnItsWay) {
  for (const bool at_the_news : {false, true}) {
    MovingWorld world;
    auto two = world.Mover("cpu1");
    ASSERT_TRUE(world.fleet->SetDraining("cpu0", true));
    ASSERT_TRUE(world.Until([&] { return MovingWorld::AskedToRelease(*world.one, world.job); }));
    if (at_the_news) {
      world.witness->on_anything = [&] { world.fleet->Cancel(world.job); };
    } else {
      world.fleet->Cancel(world.job);
    }
    world.one->Released(world.job);
    ASSERT_TRUE(world.Until([&] { return world.View("cpu0").sent == 0; }));
    world.Quiet();
    // When its client hears of the move, it was sent already: then that is taken back.
    const size_t cancels = two->Count([](const auto& message) { return message.has_cancel(); });
    EXPECT_EQ(cancels, at_the_news ? 1U : 0U);
    EXPECT_EQ(two->Submitted().size(), cancels);
    EXPECT_EQ(world.fleet->Running() + world.fleet->Waiting(), 0U);
  }
}

// An engine with memory for 100 tokens, and one for 1000.
struct UnequalWorld : MovingWorld {
  UnequalWorld() {
    EXPECT_TRUE(fleet->SetDraining("cpu0", true));  // the one of MovingWorld
    one->Token(job, wire::STOP);
    small = Mover("small", 4, 100);
  }
  Job Asking(uint32_t max_tokens, uint32_t credits = 0) {
    Job asking = NewJob("qwen", 1, 10);
    asking.submit.set_max_tokens(max_tokens);
    asking.submit.set_credits(credits);
    return asking;
  }
  // Its answer so far, as the engine tells it.
  static void Tell(ScriptedEngine& engine, uint64_t request, uint32_t tokens, uint32_t before = 0) {
    wire::StepReport step;
    auto& event = *step.add_tokens();
    event.set_request(request);
    event.set_new_tokens(tokens);
    for (uint32_t i = 0; i < tokens; ++i) event.add_ids(7);
    event.set_emitted(before + tokens);
    engine.Report(step);
  }
  static uint32_t Credits(const ScriptedEngine& engine) {
    uint32_t credits = 0;
    for (const auto& message : engine.received)
      credits += message.has_credit() ? message.credit().tokens() : 0;
    return credits;
  }

  std::unique_ptr<ScriptedEngine> small;
};

TEST(Moving, ATextGoesToAnEngineThatHasMemoryForIt) {
  UnequalWorld world;
  auto large = world.Mover("large", 4, 1000);
  world.Submit(FleetWorld::NewJob("qwen", 1, 95));  // and some answer
  ASSERT_TRUE(world.Until([&] { return large->Submitted().size() == 1; }));
  Job several = world.Asking(200);
  several.submit.set_choices(2);  // which cannot move on together
  world.Submit(several);
  ASSERT_TRUE(world.Until([&] { return large->Submitted().size() == 2; }));
  EXPECT_TRUE(world.small->Submitted().empty());
}

TEST(Moving, AnAnswerThatOutgrowsItsEngineGoesOnAtALargerOneWithWhatWasComputed) {
  UnequalWorld world;
  auto [id, witness] = world.Submit(world.Asking(500));
  ASSERT_TRUE(world.Until([&] { return world.small->Submitted().size() == 1; }));
  const wire::Submit first = world.small->received.back().submit();
  EXPECT_EQ(first.max_tokens(), 90U);
  EXPECT_EQ(first.credits(), 89U) << "it stops before its end";
  auto large = world.Mover("large", 4, 1000);
  UnequalWorld::Tell(*world.small, id, 89);
  ASSERT_TRUE(world.Until([&] { return MovingWorld::AskedToRelease(*world.small, id); }));
  world.small->Released(id, 98);
  ASSERT_TRUE(world.Until([&] { return large->Submitted().size() == 1; }));
  const wire::Submit& second = large->received.back().submit();
  EXPECT_EQ(second.max_tokens(), 500U);
  EXPECT_EQ(second.credits(), 0U);
  EXPECT_EQ(second.resume(0).ids_size(), 89);
  EXPECT_NE(std::ranges::find(witness->whys, "engine small has no memory for a longer text"),
            witness->whys.end());
  EXPECT_EQ(witness->finished, 0U);
}

TEST(Moving, AnAnswerThatNobodyHasMoreMemoryForEndsWhereItIs) {
  UnequalWorld world;
  auto [id, witness] = world.Submit(world.Asking(500));
  ASSERT_TRUE(world.Until([&] { return world.small->Submitted().size() == 1; }));
  UnequalWorld::Tell(*world.small, id, 89);
  ASSERT_TRUE(world.Until([&] { return UnequalWorld::Credits(*world.small) == 1; }));
  world.small->Token(id, wire::LENGTH);
  ASSERT_TRUE(world.Until([&] { return witness->finished == 1; }));
  EXPECT_EQ(witness->tokens, 90U);
}

TEST(Moving, CreditsNeverGoPastWhatAnEngineHasMemoryFor) {
  UnequalWorld world;
  auto [id, witness] = world.Submit(world.Asking(500, 50));
  ASSERT_TRUE(world.Until([&] { return world.small->Submitted().size() == 1; }));
  EXPECT_EQ(world.small->received.back().submit().credits(), 50U);
  UnequalWorld::Tell(*world.small, id, 50);
  ASSERT_TRUE(world.Until([&, w = witness] { return w->tokens == 50; }));
  world.fleet->Grant(id, 0, 30);
  world.fleet->Grant(id, 0, 30);
  ASSERT_TRUE(world.Until([&] { return UnequalWorld::Credits(*world.small) == 39; }));
  auto large = world.Mover("large", 1, 1000);
  auto [other, waits] =
      world.Submit(FleetWorld::NewJob("qwen", 1, 95));  // takes the larger one's only sequence
  ASSERT_TRUE(world.Until([&] { return large->Submitted().size() == 1; }));
  UnequalWorld::Tell(*world.small, id, 39, 50);
  world.Quiet();
  EXPECT_FALSE(MovingWorld::AskedToRelease(*world.small, id)) << "it waits for room";
  large->Token(other, wire::STOP);
  ASSERT_TRUE(world.Until([&] { return MovingWorld::AskedToRelease(*world.small, id); }));
  world.small->Released(id);
  ASSERT_TRUE(world.Until([&] { return large->Submitted().size() == 2; }));
  EXPECT_EQ(large->received.back().submit().resume(0).credits(), 110U - 89);
}

TEST(Moving, AnAnswerThatOutgrowsAnEngineThatGivesNothingAwayIsComputedAgain) {
  UnequalWorld world;
  wire::Hello hello = ScriptedEngine::Named("tiny");
  hello.mutable_abilities()->set_resume(true);
  hello.mutable_abilities()->set_reclaim(true);
  ASSERT_TRUE(world.fleet->SetDraining("small", true));
  auto tiny = world.Engine(hello);
  tiny->State("qwen", wire::ModelState::READY, "", 100);
  tiny->Pages(1000);
  auto [id, witness] = world.Submit(world.Asking(500));
  ASSERT_TRUE(world.Until([&] { return tiny->Submitted().size() == 1; }));
  auto large = world.Mover("large", 4, 1000);
  UnequalWorld::Tell(*tiny, id, 89);
  ASSERT_TRUE(world.Until([&] { return large->Submitted().size() == 1; }));
  EXPECT_TRUE(tiny->received.back().has_cancel());
  EXPECT_EQ(large->received.back().submit().resume(0).ids_size(), 89);
}

// It cannot be stopped at a token, so what it began ends there.
TEST(Moving, AttachedEnginesGetTextsThatHaveRoomForALongAnswer) {
  UnequalWorld world;
  ASSERT_TRUE(world.fleet->SetDraining("small", true));
  auto large = world.Mover("large", 4, 100'000);
  world.Submit(FleetWorld::NewJob("qwen"));
  ASSERT_TRUE(world.Until([&] { return large->Submitted().size() == 1; }));
  auto attached = world.Engine(ScriptedEngine::Named("attached"));  // idle, without `reclaim`
  attached->State("qwen", wire::ModelState::READY, "", 5000);
  attached->Pages(1000);
  ASSERT_TRUE(world.Until([&] { return world.View("attached").load.free_pages() == 1000; }));
  Job long_one = FleetWorld::NewJob("qwen", 1, 1000);
  long_one.submit.set_max_tokens(50'000);
  world.Submit(long_one);
  ASSERT_TRUE(world.Until([&] { return large->Submitted().size() == 2; }));
  world.Submit(FleetWorld::NewJob("qwen", 1, 1000));  // of at most 8 tokens
  ASSERT_TRUE(world.Until([&] { return attached->Submitted().size() == 1; }));
}

// Choices that were told a lot together still fit where each fits.
TEST(Moving, SeveralChoicesGoOnWhereTheLongestOfThemFits) {
  UnequalWorld world;
  Job several = world.Asking(60);
  several.submit.set_choices(2);
  auto [id, witness] = world.Submit(several);
  ASSERT_TRUE(world.Until([&] { return world.small->Submitted().size() == 1; }));
  for (int i = 0; i < 40; ++i) {
    world.small->Token(id, wire::NONE, 0);
    world.small->Token(id, wire::NONE, 1);
  }
  ASSERT_TRUE(world.Until([&, w = witness] { return w->tokens == 80; }));
  world.small->Die();
  auto other = world.Mover("other", 4, 100);
  ASSERT_TRUE(world.Until([&] { return other->Submitted().size() == 1; }));
}

TEST(Moving, AnAnswerWhoseLargerEngineDoesNotComeBackGetsWhatTheOthersHaveRoomFor) {
  UnequalWorld world;
  auto large = world.Mover("large", 4, 1000);
  ASSERT_TRUE(world.fleet->SetDraining("small", true));
  auto [id, witness] = world.Submit(world.Asking(500));
  ASSERT_TRUE(world.Until([&] { return large->Submitted().size() == 1; }));
  ASSERT_TRUE(world.fleet->SetDraining("small", false));
  UnequalWorld::Tell(*large, id, 80);  // with the prompt 90 of the small one's 100
  ASSERT_TRUE(world.Until([&, w = witness] { return w->tokens == 80; }));
  large->Die();
  ASSERT_TRUE(world.Until([&] { return world.fleet->Waiting() == 1; }));
  world.Quiet();
  EXPECT_TRUE(world.small->Submitted().empty()) << "it may be back soon";
  for (int second = 0; second < 61; ++second) {
    world.clock.Advance(kSecond);
    world.small->Pages(1000);
    world.Quiet();
  }
  ASSERT_TRUE(world.Until([&] { return world.small->Submitted().size() == 1; }));
  EXPECT_EQ(world.small->received.back().submit().max_tokens(), 90U);
}

TEST(Moving, AJobWhoseBytesAreTooManyEndsWhereItIs) {
  MovingWorld world;
  auto two = world.Mover("cpu1");
  wire::FromEngine message;
  message.mutable_model()->set_name("qwen");
  message.mutable_model()->set_state(wire::ModelState::READY);
  message.mutable_model()->set_page_bytes(300 << 20);
  world.one->Send(message);
  world.Quiet();
  ASSERT_TRUE(world.fleet->SetDraining("cpu0", true));
  world.Quiet();
  EXPECT_FALSE(MovingWorld::AskedToRelease(*world.one, world.job));
}

TEST(Moving, AnEngineThatSendsMoreThanItWasAskedForIsLost) {
  MovingWorld world;
  auto two = world.Mover("cpu1");
  ASSERT_TRUE(world.fleet->SetDraining("cpu0", true));
  ASSERT_TRUE(world.Until([&] { return MovingWorld::AskedToRelease(*world.one, world.job); }));
  wire::FromEngine message;
  message.mutable_state()->set_request(world.job);
  message.mutable_state()->set_data(std::string(3 << 20, 'x'));
  std::string bytes;
  ASSERT_TRUE(AppendFrame(message, bytes));
  std::thread sending([&] { world.one->SendBytes(bytes); });  // more than a socket's buffer holds
  ASSERT_TRUE(world.Until([&] { return !world.View("cpu0").connected; }));
  sending.join();
  ASSERT_TRUE(world.Until([&] { return two->Submitted().size() == 1; }));
  EXPECT_EQ(MovingWorld::Kinds(*two, two->received.size() - 1), "submit ");
}

TEST(Moving, ARefusalAmidAnAnswerIsItsEnd) {
  MovingWorld world;
  auto two = world.Mover("cpu1");
  wire::StepReport step;
  auto& event = *step.add_tokens();
  event.set_request(world.job);
  event.set_finish(wire::ERROR);
  SetError({Code::kUnsupported, "400: no", Reason::kUnsupportedField}, event);
  world.one->Report(step);
  ASSERT_TRUE(world.Until([&] { return world.witness->error.has_value(); }));
  EXPECT_EQ(world.witness->error->reason, Reason::kUnsupportedField);
  EXPECT_TRUE(two->Submitted().empty());
}

TEST(Moving, WhatNobodyAskedForIsIgnored) {
  MovingWorld world;
  world.one->Released(world.job);
  world.one->Released(12345);
  world.Quiet();
  EXPECT_EQ(world.View("cpu0").sent, 1U);
}

}  // namespace
}  // namespace penstock
