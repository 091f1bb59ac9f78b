// What happens to engines at fault, and to the answers that they had begun.
#include <gtest/gtest.h>

#include <fstream>

#include "fleet/fleet.h"
#include "fleet/testing.h"

namespace penstock {
namespace {

using testing::FleetWorld;
using testing::ScriptedEngine;
using testing::Witness;

wire::Hello Resuming(const std::string& name, const std::string& contract = "c") {
  wire::Hello hello = ScriptedEngine::Named(name);
  hello.set_contract(contract);
  hello.mutable_abilities()->set_resume(true);
  return hello;
}

std::unique_ptr<ScriptedEngine> ReadyEngine(FleetWorld& world, const wire::Hello& hello) {
  auto engine = world.Engine(hello);
  engine->State("qwen", wire::ModelState::READY);
  engine->Pages(1000);
  EXPECT_TRUE(world.Until([&] { return world.View(hello.engine()).load.free_pages() == 1000; }));
  return engine;
}

wire::TokenEvent Event(uint64_t request, std::initializer_list<int32_t> ids, wire::Finish finish = wire::NONE,
                       uint32_t choice = 0) {
  wire::TokenEvent event;
  event.set_request(request);
  event.set_choice(choice);
  event.set_new_tokens(static_cast<uint32_t>(ids.size()));
  event.mutable_ids()->Add(ids.begin(), ids.end());
  event.set_text("x");
  event.set_finish(finish);
  return event;
}

void Tell(ScriptedEngine& engine, const wire::TokenEvent& event) {
  wire::StepReport step;
  *step.add_tokens() = event;
  engine.Report(step);
}

const wire::Submit& LastSubmit(const ScriptedEngine& engine) {
  for (auto message = engine.received.rbegin(); message != engine.received.rend(); ++message) {
    if (message->has_submit()) return message->submit();
  }
  static const wire::Submit none;
  return none;
}

// ---- answers that had begun -------------------------------------------------------------------------

TEST(Faults, AnAnswerThatHadBegunGoesOnElsewhereFromWhereItWas) {
  FleetWorld world;
  world.Serve("qwen");
  auto one = ReadyEngine(world, Resuming("cpu0"));
  Job job = FleetWorld::NewJob("qwen");
  job.submit.set_choices(2);
  job.submit.set_credits(8);
  auto [id, witness] = world.Submit(std::move(job));
  ASSERT_TRUE(world.Until([&] { return !one->Submitted().empty(); }));
  Tell(*one, Event(id, {11, 12}));
  Tell(*one, Event(id, {21}, wire::STOP, 1));
  ASSERT_TRUE(world.Until([&] { return witness->tokens == 3; }));
  world.fleet->Grant(id, 0, 4);
  auto two = ReadyEngine(world, Resuming("cpu1"));
  one->Die();
  ASSERT_TRUE(world.Until([&] { return !two->Submitted().empty(); }));
  const wire::Submit& again = LastSubmit(*two);
  ASSERT_EQ(again.resume_size(), 2);
  EXPECT_EQ(again.resume(0).ids_size(), 2);
  EXPECT_EQ(again.resume(0).ids(1), 12);
  EXPECT_EQ(again.resume(0).credits(), 10u) << "8 and 4 granted, 2 used";
  EXPECT_FALSE(again.resume(0).ended());
  EXPECT_TRUE(again.resume(1).ended());
  EXPECT_EQ(again.prompt_size(), 3);
  EXPECT_NE(witness->whys.back().find("to the bit"), std::string::npos) << witness->whys.back();
  Tell(*two, Event(again.request(), {13}, wire::STOP));
  ASSERT_TRUE(world.Until([&] { return witness->finished == 2; }));
  EXPECT_EQ(witness->tokens, 4u);
  EXPECT_FALSE(witness->error);
  EXPECT_EQ(world.fleet->Stats().resumed, 1u);
  EXPECT_EQ(world.fleet->Running(), 0u);
}

TEST(Faults, AnEngineWithoutModelsHasNothingToProve) {
  FleetWorld world;
  auto engine = world.Engine(Resuming("cpu0"));
  ASSERT_TRUE(world.Until([&] { return world.View("cpu0").connected; }));
  EXPECT_EQ(world.View("cpu0").State(), "up");
}

TEST(Faults, UnderAnotherContractTheClientIsTold) {
  FleetWorld world;
  world.Serve("qwen");
  auto one = ReadyEngine(world, Resuming("cpu0"));
  auto [id, witness] = world.Submit(FleetWorld::NewJob("qwen"));
  ASSERT_TRUE(world.Until([&] { return !one->Submitted().empty(); }));
  Tell(*one, Event(id, {11}));
  auto two = ReadyEngine(world, Resuming("gpu0", ""));
  one->Die();
  ASSERT_TRUE(world.Until([&] { return !two->Submitted().empty(); }));
  EXPECT_NE(witness->whys.back().find("another numeric contract"), std::string::npos) << witness->whys.back();
}

TEST(Faults, AnAnswerThatNobodyCanGoOnWithEndsWithAClearError) {
  FleetWorld world({.resume_within = 5 * kSecond});
  world.Serve("qwen");
  auto one = ReadyEngine(world, Resuming("cpu0"));
  auto [id, witness] = world.Submit(FleetWorld::NewJob("qwen"));
  ASSERT_TRUE(world.Until([&] { return !one->Submitted().empty(); }));
  auto two = world.ReadyEngine("cpu1", "qwen");  // it cannot resume
  Tell(*one, Event(id, {11}));
  ASSERT_TRUE(world.Until([&] { return witness->tokens == 1; }));
  one->Die();
  ASSERT_TRUE(world.Until([&] { return witness->Heard(JobEvent::kRequeued); }));
  world.Quiet();
  EXPECT_TRUE(two->Submitted().empty());
  world.clock.Advance(6 * kSecond);
  two->Pages(1000);  // it lives
  ASSERT_TRUE(world.Until([&] { return witness->error.has_value(); }));
  EXPECT_NE(witness->error->message.find("broke off"), std::string::npos) << witness->error->message;
}

TEST(Faults, AStepThatFailsIsTriedElsewhereAndWordsOfTheFirstAttemptAreIgnored) {
  FleetWorld world;
  world.Serve("qwen");
  auto one = ReadyEngine(world, Resuming("cpu0"));
  auto [id, witness] = world.Submit(FleetWorld::NewJob("qwen"));
  ASSERT_TRUE(world.Until([&] { return !one->Submitted().empty(); }));
  Tell(*one, Event(id, {11}));
  auto two = ReadyEngine(world, Resuming("cpu1"));
  wire::TokenEvent failed = Event(id, {}, wire::ERROR);
  SetError({Code::kInternal, "the chip has a fever", Reason::kEngineGaveUp}, failed);
  Tell(*one, failed);
  Tell(*one, Event(id, {99}));
  ASSERT_TRUE(world.Until([&] { return !two->Submitted().empty(); }));
  const wire::Submit again = LastSubmit(*two);
  EXPECT_NE(again.request(), id);
  Tell(*two, Event(again.request(), {12}, wire::STOP));
  ASSERT_TRUE(world.Until([&] { return witness->finished == 1; }));
  EXPECT_EQ(witness->tokens, 2u);
  EXPECT_NE(world.View("cpu0").why.find("fever"), std::string::npos);
}

TEST(Faults, AJobThatIsAtFaultItselfIsNotTriedElsewhere) {
  FleetWorld world;
  world.Serve("qwen");
  auto one = ReadyEngine(world, Resuming("cpu0"));
  auto [id, witness] = world.Submit(FleetWorld::NewJob("qwen"));
  ASSERT_TRUE(world.Until([&] { return !one->Submitted().empty(); }));
  wire::TokenEvent refused = Event(id, {}, wire::ERROR);
  SetError({Code::kInvalid, "too long", Reason::kBadField}, refused);
  Tell(*one, refused);
  ASSERT_TRUE(world.Until([&] { return witness->error.has_value(); }));
  EXPECT_EQ(witness->error->code, Code::kInvalid);
  EXPECT_EQ(witness->error->reason, Reason::kBadField);
  EXPECT_EQ(witness->error->message, "too long");
  EXPECT_EQ(one->Submitted().size(), 1u);
}

TEST(Faults, AnEngineThatFailsAgainAndAgainIsLeftAloneForAWhile) {
  FleetWorld world;
  world.Serve("qwen");
  auto one = ReadyEngine(world, Resuming("cpu0"));
  auto [id, witness] = world.Submit(FleetWorld::NewJob("qwen"));
  for (size_t attempt = 1; attempt <= 3; ++attempt) {
    ASSERT_TRUE(world.Until([&] { return one->Submitted().size() == attempt; }));
    wire::TokenEvent failed = Event(LastSubmit(*one).request(), {}, wire::ERROR);
    SetError({Code::kInternal, "step 7 failed", Reason::kEngineGaveUp}, failed);
    Tell(*one, failed);
  }
  ASSERT_TRUE(world.Until([&] { return witness->error.has_value(); }));
  EXPECT_NE(witness->error->message.find("step 7 failed"), std::string::npos) << witness->error->message;
  EXPECT_EQ(witness->error->code, Code::kInternal);
  EXPECT_EQ(witness->error->reason, Reason::kEngineGaveUp);
  EXPECT_EQ(world.View("cpu0").health, "quarantined");
  EXPECT_FALSE(world.fleet->Ready("qwen"));
  world.clock.Advance(2500 * kMillisecond);
  EXPECT_TRUE(world.Until([&] { return world.fleet->Ready("qwen"); }));
  EXPECT_EQ(world.View("cpu0").may_run, 1u) << "it comes back slowly";
}

TEST(Faults, AStepThatHangsCostsTheEngineItsJobs) {
  FleetWorld world;
  world.Serve("qwen");
  auto one = ReadyEngine(world, Resuming("cpu0"));
  auto [id, witness] = world.Submit(FleetWorld::NewJob("qwen"));
  ASSERT_TRUE(world.Until([&] { return !one->Submitted().empty(); }));
  // Its steps take a millisecond, so that even the largest takes less than seconds.
  wire::StepReport step;
  step.set_model("qwen");
  step.set_chip_ns(1'000'000);
  step.set_prefill(100);
  step.set_decode(1);
  for (int i = 0; i < 30; ++i) one->Report(step);
  wire::FromEngine beat;
  beat.mutable_heartbeat()->set_stepping_ms(9'000);
  one->Send(beat);
  world.Quiet();
  EXPECT_TRUE(world.View("cpu0").connected);
  beat.mutable_heartbeat()->set_stepping_ms(11'000);
  one->Send(beat);
  ASSERT_TRUE(world.Until([&] { return !world.View("cpu0").connected; }));
  EXPECT_TRUE(witness->Heard(JobEvent::kRequeued));
  EXPECT_NE(world.View("cpu0").why.find("hung"), std::string::npos) << world.View("cpu0").why;
}

// ---- variants ---------------------------------------------------------------------------------------

TEST(Faults, AFamilyIsServedByAnyVariantAndAPinByOne) {
  FleetWorld world;
  world.Serve("qwen:q4");
  world.Serve("qwen:q8");
  auto one = world.Engine(Resuming("cpu0")), two = world.Engine(Resuming("cpu1"));
  EXPECT_FALSE(world.fleet->Ready("qwen"));
  one->State("qwen:q4", wire::ModelState::READY);
  two->State("qwen:q8", wire::ModelState::READY);
  one->Pages(1000);
  two->Pages(1000);
  ASSERT_TRUE(world.Until([&] { return world.fleet->Ready("qwen:q4") && world.fleet->Ready("qwen:q8"); }));
  EXPECT_TRUE(world.fleet->Ready("qwen"));
  EXPECT_FALSE(world.fleet->Submit(FleetWorld::NewJob("qwe"), std::make_shared<Witness>()));
  const auto ask = [&](const std::string& model, std::vector<std::string> variants) {
    auto witness = std::make_shared<Witness>();
    Job job = FleetWorld::NewJob(model);
    job.variants = std::move(variants);
    EXPECT_TRUE(world.fleet->Submit(std::move(job), witness));
    EXPECT_TRUE(world.Until([&] { return !witness->models.empty(); }));
    return witness->models.front();
  };
  EXPECT_EQ(ask("qwen:q8", {}), "qwen:q8");
  EXPECT_EQ(ask("qwen", {"qwen:q8"}), "qwen:q8") << "however busy";
  EXPECT_EQ(ask("qwen", {}), "qwen:q4") << "the idle one";
  ASSERT_TRUE(world.Until([&] { return one->Submitted().size() == 1; }));
  EXPECT_EQ(LastSubmit(*one).model(), "qwen:q4");
}

TEST(Faults, AnAnswerGoesOnWithTheVariantThatBeganIt) {
  FleetWorld world;
  world.Serve("qwen:q4");
  world.Serve("qwen:q8");
  auto one = world.Engine(Resuming("cpu0"));
  one->State("qwen:q4", wire::ModelState::READY);
  auto [id, witness] = world.Submit(FleetWorld::NewJob("qwen"));
  ASSERT_TRUE(world.Until([&] { return !one->Submitted().empty(); }));
  Tell(*one, Event(id, {11}));
  auto other = world.Engine(Resuming("cpu1"));
  other->State("qwen:q8", wire::ModelState::READY);
  one->Die();
  ASSERT_TRUE(
      world.Until([&] { return world.fleet->Ready("qwen:q8") && witness->Heard(JobEvent::kRequeued); }));
  EXPECT_TRUE(other->Submitted().empty());
  auto same = world.Engine(Resuming("cpu2"));
  same->State("qwen:q4", wire::ModelState::READY);
  EXPECT_TRUE(world.Until([&] { return same->Submitted().size() == 1; }));
}

TEST(Faults, AVariantThatNoEngineCouldLoadDoesNotFailTheFamily) {
  FleetWorld world;
  world.Serve("qwen:q4");
  world.Serve("qwen:q8");
  auto [id, witness] = world.Submit(FleetWorld::NewJob("qwen"));
  auto [pinned, lost] = world.Submit(FleetWorld::NewJob("qwen:q8"));
  auto one = world.Engine(Resuming("cpu0"));
  one->State("qwen:q8", wire::ModelState::FAILED, "a broken file");
  ASSERT_TRUE(world.Until([&] { return lost->error.has_value(); }));
  EXPECT_NE(lost->error->message.find("a broken file"), std::string::npos);
  one->State("qwen:q4", wire::ModelState::READY);
  EXPECT_TRUE(world.Until([&] { return one->Submitted() == std::vector{id}; }));
}

// ---- canaries ---------------------------------------------------------------------------------------

// Answers the canaries that came since the last call, all tokens `first`, `first` + 1, …
size_t AnswerCanaries(ScriptedEngine& engine, int32_t first) {
  size_t answered = 0;
  for (size_t& i = engine.seen; i < engine.received.size(); ++i) {
    const wire::ToEngine& message = engine.received[i];
    if (!message.has_submit() || message.submit().max_tokens() != kCanaryTokens ||
        !message.submit().ignore_eos())
      continue;
    ++answered;
    for (uint32_t t = 0; t < kCanaryTokens; ++t) {
      const int32_t token = first + static_cast<int32_t>(t);
      wire::TokenEvent event =
          Event(message.submit().request(), {token}, t + 1 == kCanaryTokens ? wire::LENGTH : wire::NONE);
      auto* logprob = event.add_logprobs();
      logprob->set_token(token);
      logprob->set_logprob(-0.5F);
      logprob->set_text("x");
      Tell(engine, event);
    }
  }
  return answered;
}

std::vector<CanaryPrompt> Prompts() {
  return {{.tokens = {1, 2, 3}, .text = "one"}, {.tokens = {4, 5}, .text = "two"}};
}

void ServeWithCanaries(FleetWorld& world) {
  world.Serve("qwen");
  world.fleet->SetCanaries("qwen", Prompts());
}

// One that answers its canaries with tokens from `first` on, and what it is taken for then.
std::unique_ptr<ScriptedEngine> AnsweringEngine(FleetWorld& world, const wire::Hello& hello, int32_t first,
                                                const std::string& health) {
  auto engine = ReadyEngine(world, hello);
  world.Quiet();
  AnswerCanaries(*engine, first);
  EXPECT_TRUE(world.Until([&] { return world.View(hello.engine()).health == health; })) << hello.engine();
  return engine;
}

TEST(Faults, AnEngineGetsNoRequestsBeforeItAnsweredItsCanaries) {
  FleetWorld world;
  ServeWithCanaries(world);
  auto one = ReadyEngine(world, Resuming("cpu0"));
  auto [id, witness] = world.Submit(FleetWorld::NewJob("qwen"));
  world.Quiet();
  EXPECT_FALSE(world.fleet->Ready("qwen"));
  EXPECT_EQ(world.View("cpu0").health, "proving");
  EXPECT_EQ(one->Submitted().size(), 2u) << "the two canaries";
  AnswerCanaries(*one, 100);
  ASSERT_TRUE(world.Until([&] { return world.fleet->Ready("qwen"); }));
  ASSERT_TRUE(world.Until([&] { return one->Submitted().size() == 3; }));
  EXPECT_EQ(LastSubmit(*one).request(), id);
}

TEST(Faults, AnEngineThatAnswersWronglyIsKeptOutAndAskedAgain) {
  FleetWorld world;
  ServeWithCanaries(world);
  auto one = AnsweringEngine(world, Resuming("cpu0"), 100, "good");
  auto two = AnsweringEngine(world, Resuming("cpu1"), 200, "quarantined");
  EXPECT_NE(world.View("cpu1").why.find("is right"), std::string::npos) << world.View("cpu1").why;
  EXPECT_EQ(world.fleet->Stats().canaries_wrong, 1u);
  world.clock.Advance(11 * kSecond);
  one->Pages(1000);
  two->Pages(1000);
  ASSERT_TRUE(world.Until([&] { return AnswerCanaries(*two, 100) == 2; }));
  ASSERT_TRUE(world.Until([&] { return world.View("cpu1").health == "recovering"; }));
}

TEST(Faults, AnEngineThatTurnsWrongIsFoundWithinThePeriodAndItsAnswersEnd) {
  FleetWorld world({.canary_period = 10 * kSecond});
  ServeWithCanaries(world);
  auto one = AnsweringEngine(world, Resuming("cpu0"), 100, "good");
  auto [begun, heard] = world.Submit(FleetWorld::NewJob("qwen"));
  auto [silent, unheard] = world.Submit(FleetWorld::NewJob("qwen"));
  ASSERT_TRUE(world.Until([&] { return one->Submitted().size() == 4; }));
  Tell(*one, Event(begun, {1}));
  ASSERT_TRUE(world.Until([&] { return heard->tokens == 1; }));
  AnswerCanaries(*one, 0);
  world.clock.Advance(10 * kSecond);
  one->Pages(1000);
  ASSERT_TRUE(world.Until([&] { return AnswerCanaries(*one, 700) == 2; }));
  ASSERT_TRUE(world.Until([&] { return heard->error.has_value(); }));
  EXPECT_NE(heard->error->message.find("answer wrongly"), std::string::npos) << heard->error->message;
  EXPECT_TRUE(unheard->Heard(JobEvent::kRequeued)) << "what sent nothing waits for a better engine";
  EXPECT_FALSE(unheard->error);
}

// Ends the canaries that came since the last call with an error.
void RefuseCanaries(ScriptedEngine& engine, const Error& error) {
  for (size_t& i = engine.seen; i < engine.received.size(); ++i) {
    if (!engine.received[i].has_submit()) continue;
    wire::TokenEvent event = Event(engine.received[i].submit().request(), {}, wire::ERROR);
    SetError(error, event);
    Tell(engine, event);
  }
}

TEST(Faults, AnEngineThatFailsItsCanariesIsAskedAgainUntilItsTroublesAreTooMany) {
  FleetWorld world;
  ServeWithCanaries(world);
  auto one = ReadyEngine(world, Resuming("cpu0"));
  ASSERT_TRUE(world.Until([&] {
    RefuseCanaries(*one, {Code::kInternal, "a step failed", Reason::kEngineGaveUp});
    return world.View("cpu0").health == "quarantined";
  }));
  EXPECT_EQ(one->Submitted().size(), 6u) << "three times two";
  EXPECT_EQ(world.fleet->Stats().canaries_wrong, 0u);
  world.clock.Advance(2500 * kMillisecond);
  one->Pages(1000);
  ASSERT_TRUE(world.Until([&] { return one->Submitted().size() == 8; }));
  AnswerCanaries(*one, 100);
  EXPECT_TRUE(world.Until([&] { return world.fleet->Ready("qwen"); }));
}

TEST(Faults, AnEngineWhoseContextIsTooShortForACanaryServesUnproved) {
  FleetWorld world;
  ServeWithCanaries(world);
  auto one = ReadyEngine(world, Resuming("cpu0"));
  world.Quiet();
  RefuseCanaries(*one, {Code::kInvalid, "the prompt exceeds the context", Reason::kContextTooLong});
  EXPECT_TRUE(world.Until([&] { return world.fleet->Ready("qwen"); }));
  EXPECT_EQ(world.View("cpu0").health, "good");
}

TEST(Faults, TheRightAnswersOutliveTheGateway) {
  const std::string file = fmt::format("{}/truths-{}.json", ::testing::TempDir(), ::getpid());
  std::filesystem::remove(file);
  {
    FleetWorld world({}, file);
    ServeWithCanaries(world);
    auto one = AnsweringEngine(world, Resuming("cpu0"), 100, "good");
  }
  {
    FleetWorld world({}, file);
    ServeWithCanaries(world);
    auto one = AnsweringEngine(world, Resuming("cpu0"), 300, "quarantined");
  }
  std::ofstream(file) << "no JSON";
  FleetWorld world({}, file);
  ServeWithCanaries(world);
  auto one = AnsweringEngine(world, Resuming("cpu0"), 300, "good");  // a damaged file is as good as none
}

TEST(Faults, OurOwnKernelsAreBelievedOverOthersAndMostOverOne) {
  FleetWorld world({.canary_period = 10 * kSecond});
  ServeWithCanaries(world);
  auto first = AnsweringEngine(world, Resuming("gpu0", ""), 100, "good");
  auto own = AnsweringEngine(world, Resuming("cpu0", "penstock-1"), 200, "good");
  auto wrong = AnsweringEngine(world, Resuming("cpu1", "penstock-1"), 300, "quarantined");
  // Two that agree against one that was first.
  auto right = AnsweringEngine(world, Resuming("cpu2", "penstock-1"), 300, "good");
}

}  // namespace
}  // namespace penstock
