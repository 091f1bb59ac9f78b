#include "engine/loop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <numeric>

#include "base/random.h"
#include "runner/fake.h"

namespace penstock {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// What a gateway would have heard.
struct Heard {
  struct Choice {
    std::vector<Token> ids;
    std::string text, error, stop;
    wire::Finish finish = wire::NONE;
    uint32_t cached = 0, ends = 0;
    size_t before = 0;  // tokens that another engine told
    int logprobs = 0;
  };
  std::map<std::pair<uint64_t, uint32_t>, Choice> choices;
  std::map<uint64_t, uint64_t> chip_ns, computed;
  std::map<wire::Note::Kind, int> notes;
  std::vector<wire::ModelState> models;
  std::vector<wire::StepReport> reports;
  std::vector<wire::State> states;
  std::vector<uint64_t> released;
  wire::Load load;  // by the last heartbeat

  void Hear(const wire::FromEngine& message) {
    if (message.has_model()) models.push_back(message.model());
    if (message.has_heartbeat()) load = message.heartbeat().load();
    if (message.has_state()) states.push_back(message.state());
    if (message.has_released()) released.push_back(message.released().request());
    if (!message.has_step()) return;
    for (const auto& event : message.step().tokens())
      EXPECT_THAT(released, Not(Contains(event.request()))) << "a word after it was let go of";
    reports.push_back(message.step());
    for (const auto& event : message.step().tokens()) {
      Choice& choice = choices[{event.request(), event.choice()}];
      EXPECT_EQ(choice.ends, 0U) << "an event after the end";
      choice.ids.insert(choice.ids.end(), event.ids().begin(), event.ids().end());
      choice.text += event.text();
      choice.cached += event.cached_tokens();
      choice.logprobs += event.logprobs_size();
      EXPECT_EQ(event.new_tokens(), static_cast<uint32_t>(event.ids_size()));
      if (event.ids_size() > 0 || event.emitted() > 0) {
        EXPECT_EQ(event.emitted(), choice.before + choice.ids.size());
      }
      if (event.finish() == wire::NONE) continue;
      ++choice.ends;
      choice.finish = event.finish();
      choice.error = event.error().text();
      choice.stop = event.stop();
    }
    for (const auto& charge : message.step().charges()) {
      chip_ns[charge.request()] += charge.chip_ns();
      computed[charge.request()] += charge.computed();
    }
    for (const auto& note : message.step().notes()) ++notes[note.kind()];
  }
};

class Engine {
 public:
  explicit Engine(std::string model = "fake:m", FakeOptions fake = {},
                  EngineOptions options = {.memory_bytes = 1 << 30})
      : runner_(MakeFakeRunner(fake)),
        loop_(*runner_, options, [this](const wire::FromEngine& message) { heard.Hear(message); }) {
    Load("m", model);
  }

  void Begin(const std::string& name, const std::string& path) {
    wire::ToEngine command;
    command.mutable_load()->set_name(name);
    command.mutable_load()->set_path(path);
    loop_.Handle(command);
  }
  void Load(const std::string& name, const std::string& path) {
    Begin(name, path);
    loop_.FinishLoads();
  }
  void Submit(const wire::Submit& submit) {
    wire::ToEngine command;
    *command.mutable_submit() = submit;
    loop_.Handle(command);
  }
  void Cancel(uint64_t request) {
    wire::ToEngine command;
    command.mutable_cancel()->set_request(request);
    loop_.Handle(command);
  }
  void Credit(uint64_t request, uint32_t choice, uint32_t tokens) {
    wire::ToEngine command;
    command.mutable_credit()->set_request(request);
    command.mutable_credit()->set_choice(choice);
    command.mutable_credit()->set_tokens(tokens);
    loop_.Handle(command);
  }
  void Run() {
    while (loop_.Step()) {
    }
  }
  EngineLoop& loop() { return loop_; }
  const Heard::Choice& Of(uint64_t request, uint32_t choice = 0) { return heard.choices[{request, choice}]; }

  Heard heard;

 private:
  std::unique_ptr<Runner> runner_;
  EngineLoop loop_;
};

wire::Submit Request(uint64_t id, std::vector<Token> prompt, uint32_t max_tokens) {
  wire::Submit submit;
  submit.set_request(id);
  submit.set_model("m");
  submit.mutable_prompt()->Assign(prompt.begin(), prompt.end());
  submit.set_max_tokens(max_tokens);
  submit.set_choices(1);
  submit.set_prefix_scope("team");
  return submit;
}

std::vector<Token> Prompt(uint64_t seed, int tokens) {
  Random random(seed);
  std::vector<Token> prompt;
  for (int i = 0; i < tokens; ++i) prompt.push_back(static_cast<Token>(random.Below(1000)));
  return prompt;
}

std::vector<Token> Alone(const wire::Submit& submit) {
  Engine engine;
  engine.Submit(submit);
  engine.Run();
  return engine.Of(submit.request()).ids;
}

TEST(Loop, SaysWhatWasAskedForAndEndsWithLength) {
  Engine engine;
  engine.Submit(Request(7, {1, 2, 3}, 5));
  engine.Run();
  const auto& choice = engine.Of(7);
  EXPECT_EQ(choice.ids.size(), 5U);
  EXPECT_EQ(choice.finish, wire::LENGTH);
  std::string text;
  for (Token id : choice.ids) text += fmt::format("t{} ", id);
  EXPECT_EQ(choice.text, text);
  EXPECT_EQ(engine.loop().Load().running(), 0U);
}

// Tokens of every choice of a request, and whether all ended with LENGTH.
std::pair<size_t, bool> Together(Engine& engine, uint64_t request, uint32_t choices) {
  size_t tokens = 0;
  bool length = true;
  for (uint32_t i = 0; i < choices; ++i) {
    const auto& choice = engine.Of(request, i);
    tokens += choice.ids.size();
    length &= choice.finish == wire::LENGTH && choice.ends == 1;
  }
  return {tokens, length};
}

TEST(Loop, AllChoicesTogetherEndAtExactlyTheLimit) {
  for (const uint64_t limit : {1, 2, 7, 9, 10, 60}) {
    Engine engine;
    auto submit = Request(1, Prompt(3, 20), 20);
    submit.set_choices(3);
    submit.set_limit(limit);
    engine.Submit(submit);
    engine.Run();
    EXPECT_EQ(Together(engine, 1, 3), std::pair(size_t{limit}, true)) << limit;
    EXPECT_EQ(engine.loop().Load().running(), 0U);
  }
}

TEST(Loop, ALimitThatShrinksEndsTheAnswerAtThatTokenAndOneBelowItAtOnce) {
  const auto lower = [](Engine& engine, uint64_t tokens) {
    wire::ToEngine command;
    command.mutable_limit()->set_request(1);
    command.mutable_limit()->set_tokens(tokens);
    engine.loop().Handle(command);
  };
  for (const auto& [sent, lowered, expected] :
       {std::tuple(0, 8, 8U), {12, 8, 8U}, {8, 12, 8U}, {0, 3, 5U}, {0, 5, 5U}}) {
    Engine engine;
    auto submit = Request(1, {1, 2, 3}, 40);
    submit.set_limit(static_cast<uint64_t>(sent));
    engine.Submit(submit);
    while (engine.Of(1).ids.size() < 5) ASSERT_TRUE(engine.loop().Step());
    lower(engine, static_cast<uint64_t>(lowered));
    if (expected == 5) {
      EXPECT_FALSE(engine.loop().Step()) << "it ends at once";
    }
    engine.Run();
    EXPECT_EQ(Together(engine, 1, 1), std::pair(size_t{expected}, true)) << sent << " then " << lowered;
  }
}

TEST(Loop, WhatAnotherEngineEmittedCountsTowardsTheLimit) {
  Engine engine;
  auto submit = Request(1, {1, 2, 3}, 40);
  submit.set_choices(2);
  submit.set_limit(7);
  for (uint32_t i = 0; i < 2; ++i) {
    wire::Resume& resume = *submit.add_resume();
    resume.set_choice(i);
    for (Token id : {10, 11}) resume.add_ids(id);
    engine.heard.choices[{1, i}].before = 2;
  }
  engine.Submit(submit);
  engine.Run();
  EXPECT_EQ(Together(engine, 1, 2), std::pair(size_t{3}, true));
  submit.set_request(2);
  submit.set_limit(4);
  for (uint32_t i = 0; i < 2; ++i) engine.heard.choices[{2, i}].before = 2;
  engine.Submit(submit);
  EXPECT_FALSE(engine.loop().Step()) << "nothing is left to compute";
  EXPECT_EQ(Together(engine, 2, 2), std::pair(size_t{0}, true));
}

TEST(Loop, TheGatewaySaysHowMuchIsLogged) {
  Engine engine;
  const auto before = spdlog::get_level();
  const auto tell = [&](const std::string& level) {
    wire::ToEngine command;
    command.mutable_log()->set_level(level);
    engine.loop().Handle(command);
    return spdlog::get_level();
  };
  EXPECT_EQ(tell("trace"), spdlog::level::trace);
  EXPECT_EQ(tell("error"), spdlog::level::err);
  EXPECT_EQ(tell("of a later version"), spdlog::level::err) << "what it does not know changes nothing";
  spdlog::set_level(before);
}

TEST(Loop, OtherModelsStepWhileOneLoads) {
  Engine engine;
  engine.Submit(Request(1, {1, 2, 3}, 200));
  engine.Begin("slow", "fake:slow?load_ms=300");
  const auto state = [&] { return engine.heard.models.back().state(); };
  EXPECT_EQ(state(), wire::ModelState::LOADING);
  int steps = 0;
  while (engine.Of(1).ends == 0) {
    ASSERT_TRUE(engine.loop().Step());
    ++steps;
    ASSERT_EQ(state(), wire::ModelState::LOADING) << "the load was over before " << steps << " steps";
  }
  EXPECT_GE(steps, 200);
  engine.loop().FinishLoads();
  EXPECT_EQ(state(), wire::ModelState::READY);
  EXPECT_EQ(engine.heard.models.back().name(), "slow");
}

TEST(Loop, ALoadThatIsNotWantedAnyMoreIsForgotten) {
  Engine engine;
  engine.Begin("n", "fake:n?load_ms=50");
  engine.Begin("n", "fake:other?load_ms=50");  // replaced while it loads
  engine.Begin("gone", "fake:gone?load_ms=50");
  wire::ToEngine unload;
  unload.mutable_unload()->set_name("gone");
  engine.loop().Handle(unload);
  engine.loop().FinishLoads();
  std::vector<std::string> ready;
  for (const auto& model : engine.heard.models) {
    if (model.state() == wire::ModelState::READY) ready.push_back(model.path());
  }
  EXPECT_THAT(ready, ElementsAre("fake:m", "fake:other?load_ms=50"));
}

TEST(Loop, SixteenTogetherSayWhatEachSaysAlone) {
  Engine engine("fake:m", {}, {.memory_bytes = 1 << 30, .max_sequences = 16, .step_tokens = 24});
  std::vector<wire::Submit> requests;
  for (uint64_t i = 0; i < 16; ++i)
    requests.push_back(Request(i + 1, Prompt(i, 5 + static_cast<int>(i) * 7), 40));
  for (const auto& request : requests) engine.Submit(request);
  engine.Run();
  for (const auto& request : requests) EXPECT_EQ(engine.Of(request.request()).ids, Alone(request));
}

TEST(Loop, PreemptedRequestsSayTheSame) {
  Engine engine("fake:m?pages=12");
  std::vector<wire::Submit> requests;
  for (uint64_t i = 0; i < 6; ++i) requests.push_back(Request(i + 1, Prompt(i, 20), 100));
  for (const auto& request : requests) engine.Submit(request);
  engine.Run();
  EXPECT_GT(engine.heard.notes[wire::Note::PREEMPTED], 0);
  EXPECT_EQ(engine.heard.notes[wire::Note::PREEMPTED], engine.heard.notes[wire::Note::RESUMED]);
  for (const auto& request : requests) EXPECT_EQ(engine.Of(request.request()).ids, Alone(request));
}

TEST(Loop, ChargesAddUpToTheChipTime) {
  Engine engine("fake:m", {.step_time = 1'000'003, .token_time = 17});
  for (uint64_t i = 0; i < 7; ++i) engine.Submit(Request(i + 1, Prompt(i, 30), 20));
  engine.Run();
  uint64_t steps = 0;
  for (const auto& report : engine.heard.reports) {
    uint64_t charged = 0;
    for (const auto& charge : report.charges()) charged += charge.chip_ns();
    EXPECT_EQ(charged, report.chip_ns());
    steps += report.chip_ns() > 0 ? 1 : 0;
  }
  EXPECT_EQ(steps, 20U);
  // Equal requests cost the same but for rounding and the prefix of a step.
  EXPECT_EQ(engine.heard.computed[1], 30U + 19U);
}

TEST(Loop, PrefixCacheSparesTheSameScopeOnly) {
  Engine engine;
  auto again = Request(2, Prompt(1, 100), 4), other = Request(3, Prompt(1, 100), 4),
       none = Request(4, Prompt(1, 100), 4);
  other.set_prefix_scope("other team");
  none.set_prefix_scope("");
  for (const auto& submit : {Request(1, Prompt(1, 100), 4), again, other, none}) {
    engine.Submit(submit);
    engine.Run();
  }
  EXPECT_EQ(engine.Of(1).cached, 0U);
  EXPECT_EQ(engine.Of(2).cached, 96U);
  EXPECT_EQ(engine.Of(3).cached, 0U);
  EXPECT_EQ(engine.Of(4).cached, 0U);
  for (uint64_t i = 2; i <= 4; ++i) EXPECT_EQ(engine.Of(i).ids, engine.Of(1).ids);
  EXPECT_EQ(engine.heard.computed[2], 4U + 3U);
}

TEST(Loop, ChoicesShareThePromptAndDrawFromTheirOwnSeeds) {
  Engine engine;
  auto submit = Request(1, Prompt(1, 40), 10);
  submit.set_choices(4);
  submit.mutable_sampling()->set_temperature(1);
  submit.mutable_sampling()->set_seed(5);
  submit.mutable_sampling()->set_top_logprobs(-1);
  engine.Submit(submit);
  engine.Run();
  EXPECT_EQ(engine.heard.computed[1], 40U + 9U + 3 * 10U);
  for (uint32_t i = 0; i < 4; ++i) {
    auto alone = submit;
    alone.set_choices(1);
    alone.mutable_sampling()->set_seed(5 + i);
    EXPECT_EQ(engine.Of(1, i).ids, Alone(alone)) << i;
  }
  EXPECT_NE(engine.Of(1, 0).ids, engine.Of(1, 1).ids);
}

TEST(Loop, CancelEndsARequestInTheMiddleOfItsPrompt) {
  Engine engine("fake:m", {}, {.memory_bytes = 1 << 30, .step_tokens = 16});
  engine.Submit(Request(1, Prompt(1, 200), 10));
  EXPECT_TRUE(engine.loop().Step());
  engine.Cancel(1);
  engine.Run();
  EXPECT_EQ(engine.Of(1).finish, wire::CANCELLED);
  EXPECT_EQ(engine.Of(1).ids.size(), 0U);
  EXPECT_EQ(engine.loop().Load().running(), 0U);
  EXPECT_EQ(engine.loop().Load().free_pages(), 4096U);
}

TEST(Loop, AChoiceNeverOutrunsItsCredits) {
  Engine engine;
  auto submit = Request(1, {1, 2, 3}, 20);
  submit.set_credits(4);
  engine.Submit(submit);
  engine.Run();
  EXPECT_EQ(engine.Of(1).ids.size(), 4U);
  EXPECT_EQ(engine.heard.notes[wire::Note::STARVED], 1);
  engine.Credit(1, 0, 3);
  engine.Run();
  EXPECT_EQ(engine.Of(1).ids.size(), 7U);
  engine.Credit(1, 0, 100);
  engine.Run();
  EXPECT_EQ(engine.Of(1).ids, Alone(Request(1, {1, 2, 3}, 20)));
}

TEST(Loop, AStopTokenEndsWithoutItsText) {
  const std::vector<Token> said = Alone(Request(1, {1, 2, 3}, 10));
  Engine engine;
  auto submit = Request(1, {1, 2, 3}, 10);
  submit.add_stop_tokens(said[3]);
  engine.Submit(submit);
  submit.set_request(2);
  submit.set_ignore_eos(true);
  engine.Submit(submit);
  engine.Run();
  EXPECT_EQ(engine.Of(1).finish, wire::STOP);
  EXPECT_EQ(engine.Of(1).ids.size(), 4U);
  EXPECT_EQ(engine.Of(1).text, fmt::format("t{} t{} t{} ", said[0], said[1], said[2]));
  EXPECT_EQ(engine.Of(2).ids, said);
}

TEST(Loop, AStopStringEndsAcrossTokensAndNothingOvershoots) {
  const std::vector<Token> said = Alone(Request(1, {1, 2, 3}, 10));
  Engine engine;
  auto submit = Request(1, {1, 2, 3}, 10);
  submit.add_stop(fmt::format("{} t{}", said[1], said[2]));  // ends within the third token
  engine.Submit(submit);
  engine.Run();
  EXPECT_EQ(engine.Of(1).finish, wire::STOP);
  EXPECT_EQ(engine.Of(1).text, fmt::format("t{} t", said[0]));
  EXPECT_EQ(engine.Of(1).ids.size(), 3U);
}

TEST(Loop, AFailedStepEndsItsOwnRequestsAndTheEngineGoesOn) {
  // This seed fails some step, not all.
  Engine engine("fake:m", {.seed = 3, .fail = 0.1});
  int failed = 0;
  for (uint64_t i = 1; i <= 40; ++i) {
    engine.Submit(Request(i, Prompt(i, 10), 5));
    engine.Run();
    if (engine.Of(i).finish == wire::ERROR) {
      ++failed;
      EXPECT_THAT(engine.Of(i).error, HasSubstr("fails by plan"));
    } else {
      EXPECT_EQ(engine.Of(i).ids, Alone(Request(i, Prompt(i, 10), 5)));
    }
  }
  EXPECT_GT(failed, 3);
  EXPECT_LT(failed, 35);
  EXPECT_EQ(engine.loop().Load().free_pages(), 4096U);
}

TEST(Loop, WhatCanNeverFitIsRefusedWithTheSizes) {
  Engine engine("fake:m?pages=4");
  EXPECT_EQ(engine.heard.models.back().context(), 64U);
  engine.Submit(Request(1, Prompt(1, 60), 20));
  auto too_long = Request(2, Prompt(1, 5), 5000);
  too_long.set_choices(2);
  engine.Submit(too_long);
  engine.Submit(Request(3, {1, 5000}, 2));
  engine.Submit(Request(4, {}, 2));
  engine.Run();
  EXPECT_THAT(engine.Of(1).error, HasSubstr("needs 5 pages of 16 tokens and the engine has 4"));
  EXPECT_THAT(engine.Of(2, 1).error, HasSubstr("exceed the model's context of 4096"));
  EXPECT_THAT(engine.Of(3).error, HasSubstr("token 5000 is outside the model's vocabulary"));
  EXPECT_THAT(engine.Of(4).error, HasSubstr("no tokens"));
}

TEST(Loop, SeveralModelsTakeTurnsByChipTime) {
  Engine engine("fake:m", {.step_time = kMillisecond});
  engine.Load("n", "fake:n");
  for (uint64_t i = 1; i <= 8; ++i) {
    auto submit = Request(i, Prompt(i, 10), 50);
    if (i > 6) submit.set_model("n");
    engine.Submit(submit);
  }
  engine.Run();
  // Both models had work for their 50 steps: they took turns.
  std::vector<uint64_t> order;
  for (const auto& report : engine.heard.reports) {
    if (report.charges_size() > 0) order.push_back(report.charges(0).request() > 6 ? 1 : 0);
  }
  ASSERT_EQ(order.size(), 100U);
  for (size_t i = 0; i + 1 < order.size(); ++i) EXPECT_NE(order[i], order[i + 1]) << i;
}

TEST(Loop, AFailedLoadSaysWhyAndTheNextCanSucceed) {
  Engine engine("fake:m?error=tensor+x+is+short");
  EXPECT_EQ(engine.heard.models.back().state(), wire::ModelState::FAILED);
  EXPECT_THAT(engine.heard.models.back().error().text(), HasSubstr("tensor+x+is+short"));
  engine.Submit(Request(1, {1}, 1));
  engine.Run();
  EXPECT_THAT(engine.Of(1).error, HasSubstr("model m is not ready"));
  engine.Load("m", "fake:m");
  EXPECT_EQ(engine.heard.models.back().state(), wire::ModelState::READY);
  engine.Submit(Request(2, {1}, 1));
  engine.Run();
  EXPECT_EQ(engine.Of(2).finish, wire::LENGTH);
}

TEST(Loop, LoadingWhatIsLoadedAnswersAtOnceAndUnloadingEndsItsRequests) {
  Engine engine;
  engine.Submit(Request(1, {1}, 50));
  EXPECT_TRUE(engine.loop().Step());
  const size_t told = engine.heard.models.size();
  engine.Load("m", "fake:m");
  EXPECT_EQ(engine.heard.models.size(), told + 1);
  wire::ToEngine unload;
  unload.mutable_unload()->set_name("m");
  engine.loop().Handle(unload);
  engine.Run();
  EXPECT_EQ(engine.heard.models.back().state(), wire::ModelState::UNLOADED);
  EXPECT_EQ(engine.Of(1).finish, wire::ERROR);
  EXPECT_THAT(engine.Of(1).error, HasSubstr("model m was unloaded"));
}

TEST(Loop, ADisconnectedGatewayLeavesModelsAndNoWork) {
  Engine engine;
  engine.Submit(Request(1, Prompt(1, 50), 50));
  EXPECT_TRUE(engine.loop().Step());
  engine.loop().Disconnected();
  EXPECT_FALSE(engine.loop().Step());
  EXPECT_EQ(engine.loop().Load().free_pages(), 4096U);
  engine.heard = {};
  engine.Submit(Request(1, Prompt(2, 50), 5));  // ids begin anew
  engine.Run();
  EXPECT_EQ(engine.Of(1).ids, Alone(Request(1, Prompt(2, 50), 5)));
}

// What `from` had of a request goes on in `to`, as the gateway would have it.
void Move(Engine& from, Engine& to, wire::Submit submit, uint64_t most_bytes = 1 << 30) {
  const uint64_t id = submit.request();
  wire::ToEngine command;
  command.mutable_release()->set_request(id);
  command.mutable_release()->set_most_bytes(most_bytes);
  from.loop().Handle(command);
  EXPECT_THAT(from.heard.released, Contains(id));
  EXPECT_EQ(from.heard.load.running(), from.loop().Load().running())
      << "the gateway knows what room there is";
  for (const wire::State& state : std::exchange(from.heard.states, {})) {
    *command.mutable_state() = state;
    to.loop().Handle(command);
  }
  for (uint32_t i = 0; i < submit.choices(); ++i) {
    const Heard::Choice& said = from.Of(id, i);
    wire::Resume& resume = *submit.add_resume();
    resume.set_choice(i);
    resume.mutable_ids()->Assign(said.ids.begin(), said.ids.end());
    resume.set_ended(said.ends > 0);
    to.heard.choices[{id, i}].before = said.ids.size();
  }
  to.Submit(submit);
}

TEST(Loop, AReleasedRequestGoesOnElsewhereAndNothingIsComputedTwice) {
  wire::Submit submit = Request(1, Prompt(1, 100), 30);
  submit.set_choices(3);
  submit.mutable_sampling()->set_temperature(1);
  submit.mutable_sampling()->set_seed(5);
  Engine alone;
  alone.Submit(submit);
  alone.Run();
  for (const int steps : {0, 1, 2, 3, 10, 29}) {
    Engine from("fake:m", {}, {.memory_bytes = 1 << 30, .step_tokens = 64}), to;
    from.Submit(submit);
    from.Submit(Request(2, Prompt(2, 10), 50));
    for (int i = 0; i < steps; ++i) from.loop().Step();
    Move(from, to, submit);
    to.Run();
    from.Run();
    EXPECT_EQ(from.Of(2).ids.size(), 50U);
    for (uint32_t choice = 0; choice < 3; ++choice) {
      std::vector<Token> ids = from.Of(1, choice).ids;
      ids.insert(ids.end(), to.Of(1, choice).ids.begin(), to.Of(1, choice).ids.end());
      EXPECT_EQ(ids, alone.Of(1, choice).ids) << steps << " steps, choice " << choice;
    }
    EXPECT_EQ(to.Of(1).cached, 0U) << "what came along was computed for this request";
    if (steps > 3) EXPECT_EQ(from.heard.computed[1] + to.heard.computed[1], alone.heard.computed[1]) << steps;
  }
}

TEST(Loop, WhatIsTooLargeToMoveIsComputedAgain) {
  const wire::Submit submit = Request(1, Prompt(1, 100), 30);
  Engine from, to;
  from.Submit(submit);
  for (int i = 0; i < 10; ++i) from.loop().Step();
  Move(from, to, submit, 100);
  to.Run();
  EXPECT_EQ(from.Of(1).ids.size() + to.Of(1).ids.size(), 30U);
  EXPECT_EQ(to.heard.computed[1], 100U + 29);
}

TEST(Loop, AnEngineThatDrainsIsDoneWhenItHasLetGoOfAll) {
  Engine engine, other;
  engine.Submit(Request(1, Prompt(1, 10), 1000));
  engine.loop().Step();
  engine.loop().Drain();
  EXPECT_FALSE(engine.loop().drained());
  Move(engine, other, Request(1, Prompt(1, 10), 1000));
  EXPECT_TRUE(engine.loop().drained());
  wire::ToEngine unknown;
  unknown.mutable_release()->set_request(7);
  engine.heard.released.clear();
  engine.loop().Handle(unknown);
  EXPECT_TRUE(engine.heard.released.empty()) << "it has ended, and that was said";
}

TEST(Loop, AStateThatDoesNotFitIsComputedAgain) {
  for (const uint32_t tokens : {0U, 5U, 20U, 1000U}) {
    Engine engine;
    wire::ToEngine command;
    command.mutable_state()->set_request(1);
    command.mutable_state()->set_tokens(tokens);
    command.mutable_state()->set_data("no such thing");
    engine.loop().Handle(command);
    engine.Submit(Request(1, Prompt(1, 20), 5));
    engine.Run();
    EXPECT_EQ(engine.Of(1).ids, Alone(Request(1, Prompt(1, 20), 5)));
  }
}

TEST(Loop, DrainingFinishesWhatRunsAndRefusesTheRest) {
  Engine engine;
  engine.Submit(Request(1, {1}, 10));
  wire::ToEngine drain;
  drain.mutable_drain();
  engine.loop().Handle(drain);
  engine.Submit(Request(2, {1}, 10));
  EXPECT_FALSE(engine.loop().drained());
  engine.Run();
  EXPECT_TRUE(engine.loop().drained());
  EXPECT_EQ(engine.Of(1).ids.size(), 10U);
  EXPECT_THAT(engine.Of(2).error, HasSubstr("draining"));
}

TEST(Loop, LogprobsComeOnePerToken) {
  Engine engine;
  auto submit = Request(1, {1, 2}, 6);
  submit.mutable_sampling()->set_top_logprobs(3);
  engine.Submit(submit);
  engine.Run();
  EXPECT_EQ(engine.Of(1).logprobs, 6);
  const auto& first = engine.heard.reports.front().tokens(0).logprobs(0);
  EXPECT_EQ(first.top_size(), 3);
  EXPECT_EQ(first.text(), fmt::format("t{} ", first.token()));
}

}  // namespace
}  // namespace penstock
