// The same planner over every runner that computes: native, and ggml on each kind of device that is here.
// What a request says may depend on its runner only where two tokens are nearly tied: native's bits are
// always the same, libllama's logits move a little with what else is in the batch.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <sstream>

#include "base/random.h"
#include "engine/loop.h"
#include "runner/ggml_plugin.h"
#include "runner/native.h"

namespace penstock {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Between the logarithms of the best two tokens' probabilities; twice what they were seen to move between the
// runners on the tiny models (0.048).
constexpr float kNearTie = 0.1F;
constexpr int32_t kVocabulary = 96, kNewTokens = 16;  // the tiny models' context is 64

struct Device {
  std::string runner, name;
};

std::string Golden(const std::string& name) {
  return std::string(PENSTOCK_SOURCE_DIR) + "/model/testdata/logits/" + name + ".gguf";
}

Result<std::unique_ptr<Runner>> Make(const Device& device, int64_t pause_bytes = 1) {
  // Mesa's llvmpipe is no GPU: ggml passes it over unless it is asked for.
  ::setenv("GGML_VK_VISIBLE_DEVICES", "0", 0);
  if (device.runner == "native") return MakeNativeRunner({.threads = 2, .isa = {}});
  return MakeGgmlRunner(
      {.device = device.name, .max_sequences = 16, .threads = 2, .pause_bytes = pause_bytes});
}

// What one choice said, and how far its best token was from the next at each place.
struct Said {
  std::vector<Token> ids;
  std::vector<float> gaps;
  std::string error;
  wire::Finish finish = wire::NONE;
  uint32_t cached = 0;
};

class Engine {
 public:
  Engine(Runner& runner, const std::string& model, int32_t pages = 0, EngineOptions options = {})
      : loop_(runner, WithMemory(options), [this](const wire::FromEngine& message) { Hear(message); }) {
    Load(model, 0);
    // The size of a page is the runner's own: known once it has been loaded.
    if (pages > 0) {
      wire::ToEngine unload;
      unload.mutable_unload()->set_name("m");
      const uint64_t bytes = state_.page_bytes() * static_cast<uint64_t>(pages);
      loop_.Handle(unload);
      Load(model, bytes);
    }
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
  void Credit(uint64_t request, uint32_t tokens) {
    wire::ToEngine command;
    command.mutable_credit()->set_request(request);
    command.mutable_credit()->set_tokens(tokens);
    loop_.Handle(command);
  }
  void Run() {
    while (loop_.Step()) {
    }
  }
  const Said& Of(uint64_t request, uint32_t choice = 0) { return said[{request, choice}]; }
  EngineLoop& loop() { return loop_; }
  const wire::ModelState& state() const { return state_; }

  std::map<std::pair<uint64_t, uint32_t>, Said> said;
  std::map<uint64_t, uint64_t> computed, chip_ns;
  std::vector<wire::StepReport> reports;
  std::vector<wire::State> states;

 private:
  static EngineOptions WithMemory(EngineOptions options) {
    options.memory_bytes = 1 << 30;
    return options;
  }
  void Load(const std::string& model, uint64_t kv_bytes) {
    wire::ToEngine command;
    command.mutable_load()->set_name("m");
    command.mutable_load()->set_path(model);
    command.mutable_load()->set_kv_bytes(kv_bytes == 0 ? 1 << 20 : kv_bytes);
    loop_.Handle(command);
    loop_.FinishLoads();
  }
  void Hear(const wire::FromEngine& message) {
    if (message.has_model() && message.model().state() != wire::ModelState::UNLOADED)
      state_ = message.model();
    if (message.has_state()) states.push_back(message.state());
    if (!message.has_step()) return;
    reports.push_back(message.step());
    for (const auto& charge : message.step().charges()) {
      computed[charge.request()] += charge.computed();
      chip_ns[charge.request()] += charge.chip_ns();
    }
    for (const auto& event : message.step().tokens()) {
      Said& one = said[{event.request(), event.choice()}];
      one.ids.insert(one.ids.end(), event.ids().begin(), event.ids().end());
      for (const auto& logprob : event.logprobs())
        one.gaps.push_back(logprob.top_size() == 2 ? logprob.top(0).logprob() - logprob.top(1).logprob() : 0);
      one.cached += event.cached_tokens();
      if (event.finish() == wire::NONE) continue;
      one.finish = event.finish();
      one.error = event.error().text();
    }
  }

  wire::ModelState state_;
  EngineLoop loop_;
};

std::vector<Token> Prompt(uint64_t seed, uint64_t tokens) {
  Random random(seed);
  std::vector<Token> prompt;
  for (uint64_t i = 0; i < tokens; ++i) prompt.push_back(static_cast<Token>(random.Below(kVocabulary)));
  return prompt;
}

// Greedy, with what is needed to see near ties.
wire::Submit Request(uint64_t id, const std::vector<Token>& prompt, uint32_t max_tokens = kNewTokens) {
  wire::Submit submit;
  submit.set_request(id);
  submit.set_model("m");
  submit.mutable_prompt()->Assign(prompt.begin(), prompt.end());
  submit.set_max_tokens(max_tokens);
  submit.set_prefix_scope("team");
  submit.mutable_sampling()->set_top_p(1);
  submit.mutable_sampling()->set_top_logprobs(2);
  return submit;
}

// The same to the first near tie. Returns how many tokens were the same.
size_t ExpectAgree(const Said& truth, const Said& other, const std::string& what) {
  EXPECT_EQ(other.error, "") << what;
  EXPECT_EQ(truth.ids.size(), other.ids.size()) << what;
  for (size_t i = 0; i < std::min(truth.ids.size(), other.ids.size()); ++i) {
    if (truth.ids[i] == other.ids[i]) continue;
    EXPECT_LT(truth.gaps[i], kNearTie) << what << ": token " << i << " differs";
    return i;
  }
  return truth.ids.size();
}

class EveryRunner : public ::testing::TestWithParam<Device> {
 protected:
  void SetUp() override {
    auto made = Make(GetParam());
    if (!made && GetParam().runner != "native") GTEST_SKIP() << made.error().message;
    ASSERT_TRUE(made.has_value()) << made.error().message;
    runner_ = *std::move(made);
  }

  // What each request says alone, in an engine that has never computed anything else.
  Said Alone(const wire::Submit& request, const std::string& model = Golden("llama")) {
    Engine engine(*runner_, model);
    engine.Submit(request);
    engine.Run();
    EXPECT_EQ(engine.Of(request.request()).finish, wire::LENGTH) << engine.Of(request.request()).error;
    return engine.Of(request.request());
  }
  // Most tokens must have been compared, or the claim is empty.
  static void ExpectMost(size_t agreed, size_t requests) {
    EXPECT_GT(agreed, requests * kNewTokens / 2) << "near ties left little to compare";
  }

  std::unique_ptr<Runner> runner_;
};

// Without qwen3moe: its text also turns where two experts are nearly tied, which no gap between tokens shows.
TEST_P(EveryRunner, SaysWhatNativeSaysToTheFirstNearTie) {
  auto native = Make({"native", ""});
  ASSERT_TRUE(native.has_value());
  for (const char* name : {"llama", "llama-yarn", "llama-llama3", "qwen3", "qwen3-yarn"}) {
    size_t agreed = 0;
    for (uint64_t id = 1; id <= 4; ++id) {
      const wire::Submit request = Request(id, Prompt(id, 4 + id * 3));
      Engine engine(**native, Golden(name));
      engine.Submit(request);
      engine.Run();
      agreed += ExpectAgree(engine.Of(id), Alone(request, Golden(name)), name);
    }
    ExpectMost(agreed, 4);
  }
}

TEST_P(EveryRunner, ManyAtOnceSayWhatEachSaysAlone) {
  Engine engine(*runner_, Golden("llama"), 0, {.step_tokens = 20});
  for (uint64_t id = 1; id <= 12; ++id) engine.Submit(Request(id, Prompt(id, 1 + id * 2)));
  engine.Run();
  size_t agreed = 0;
  for (uint64_t id = 1; id <= 12; ++id)
    agreed +=
        ExpectAgree(Alone(Request(id, Prompt(id, 1 + id * 2))), engine.Of(id), fmt::format("request {}", id));
  ExpectMost(agreed, 12);
}

TEST_P(EveryRunner, ALongPromptDoesNotHoldUpARunningStream) {
  Engine engine(*runner_, Golden("llama"), 0, {.step_tokens = 8});
  engine.Submit(Request(1, Prompt(1, 4), 20));
  engine.loop().Step();
  engine.Submit(Request(2, Prompt(2, 60), 2));
  engine.reports.clear();
  while (engine.Of(2).ids.empty() && engine.loop().Step()) {
  }
  EXPECT_GT(engine.reports.size(), 5U);
  for (const auto& report : engine.reports) {
    EXPECT_TRUE(std::ranges::any_of(report.tokens(), [](const auto& event) { return event.request() == 1; }));
  }
}

TEST_P(EveryRunner, ACancelledRequestLeavesTheOthersAndItsPages) {
  Engine engine(*runner_, Golden("llama"));
  const uint32_t pages = engine.state().pages();
  engine.Submit(Request(1, Prompt(1, 20)));
  engine.Submit(Request(2, Prompt(2, 20)));
  for (int i = 0; i < 5; ++i) engine.loop().Step();
  engine.Cancel(1);
  engine.Submit(Request(3, Prompt(3, 20)));
  engine.Run();
  EXPECT_EQ(engine.Of(1).finish, wire::CANCELLED);
  ExpectAgree(Alone(Request(2, Prompt(2, 20))), engine.Of(2), "beside a cancelled one");
  ExpectAgree(Alone(Request(3, Prompt(3, 20))), engine.Of(3), "after a cancelled one");
  EXPECT_EQ(engine.loop().Load().free_pages(), pages);
}

TEST_P(EveryRunner, APreemptedRequestResumesAsIfNothingHadHappened) {
  for (const auto [cache, pause_bytes] :
       {std::pair(false, 1), {true, 1}, {false, 1 << 20}, {true, 1 << 20}}) {
    const auto runner = *Make(GetParam(), pause_bytes);
    Engine engine(*runner, Golden("llama"), 6, {.prefix_cache = cache});
    EXPECT_EQ(engine.state().pages(), 6U);
    for (uint64_t id = 1; id <= 4; ++id) engine.Submit(Request(id, Prompt(id, 9 + id), 40));
    engine.Run();
    EXPECT_GT(engine.loop().Load().preemptions(), 0U);
    const bool aside = pause_bytes > 1 && GetParam().runner == "ggml";
    EXPECT_EQ(engine.loop().Load().restored_tokens() > 0, aside);
    if (aside) EXPECT_EQ(engine.loop().Load().computed_tokens(), 4 * 39U + 10 + 11 + 12 + 13);
    size_t agreed = 0;
    for (uint64_t id = 1; id <= 4; ++id) {
      agreed += ExpectAgree(Alone(Request(id, Prompt(id, 9 + id), 40)), engine.Of(id),
                            fmt::format("request {}", id));
    }
    ExpectMost(agreed, 4);
  }
}

// What a request says that moves to another engine after some steps of the first.
Said SaidByBoth(Engine& from, Engine& to, wire::Submit request, int steps) {
  const uint64_t id = request.request();
  from.Submit(request);
  for (int i = 0; i < steps; ++i) from.loop().Step();
  const uint64_t before = from.computed[id];
  wire::ToEngine command;
  command.mutable_release()->set_request(id);
  command.mutable_release()->set_most_bytes(1 << 30);
  from.loop().Handle(command);
  EXPECT_FALSE(from.states.empty());
  for (const wire::State& state : from.states) {
    *command.mutable_state() = state;
    to.loop().Handle(command);
  }
  Said said = from.Of(id);
  request.add_resume()->mutable_ids()->Assign(said.ids.begin(), said.ids.end());
  to.Submit(request);
  to.Run();
  from.Run();
  EXPECT_EQ(before + to.computed[id], static_cast<uint64_t>(request.prompt_size()) + kNewTokens - 1)
      << "nothing is computed twice";
  said.ids.insert(said.ids.end(), to.Of(id).ids.begin(), to.Of(id).ids.end());
  said.error = to.Of(id).error;
  return said;
}

// From one engine to another of its kind, in the prompt and in the answer.
TEST_P(EveryRunner, AMovedRequestGoesOnFromWhatWasComputedOfIt) {
  const auto elsewhere = *Make(GetParam());
  size_t agreed = 0, compared = 0;
  for (const int steps : {1, 2, 5, 12}) {
    Engine from(*runner_, Golden("llama"), 0, {.step_tokens = 16}), to(*elsewhere, Golden("llama"));
    from.Submit(Request(2, Prompt(2, 20)));
    to.Submit(Request(3, Prompt(3, 20)));
    to.loop().Step();
    const wire::Submit request = Request(1, Prompt(1, 24));
    const Said said = SaidByBoth(from, to, request, steps + 1);
    agreed += ExpectAgree(Alone(request), said, fmt::format("moved after {} steps", steps));
    ExpectAgree(Alone(Request(2, Prompt(2, 20))), from.Of(2), "stayed");
    ExpectAgree(Alone(Request(3, Prompt(3, 20))), to.Of(3), "was there");
    ++compared;
  }
  ExpectMost(agreed, compared);
}

TEST(NativeRunners, AMoveToAnotherKernelVersionIsToTheBit) {
  for (const char* model : {"llama", "qwen2", "qwen3moe"}) {
    const wire::Submit request = Request(1, Prompt(1, 40));
    std::vector<Token> alone;
    for (const auto one : kernels::SupportedIsas()) {
      for (const auto other : kernels::SupportedIsas()) {
        const auto first = *MakeNativeRunner({.threads = 2, .isa = one});
        const auto second = *MakeNativeRunner({.threads = 2, .isa = other});
        Engine from(*first, Golden(model)), to(*second, Golden(model));
        const Said said = SaidByBoth(from, to, request, 6);
        EXPECT_EQ(said.ids.size(), kNewTokens);
        if (alone.empty()) alone = said.ids;
        EXPECT_EQ(said.ids, alone) << model;
      }
    }
  }
}

TEST_P(EveryRunner, AReaderThatPausesGetsTheRestWhenItGoesOn) {
  Engine engine(*runner_, Golden("llama"));
  wire::Submit paused = Request(1, Prompt(1, 20));
  paused.set_credits(3);
  engine.Submit(paused);
  engine.Submit(Request(2, Prompt(2, 20)));
  engine.Run();
  EXPECT_EQ(engine.Of(1).ids.size(), 3U);
  EXPECT_EQ(engine.Of(2).finish, wire::LENGTH);
  engine.Credit(1, 100);
  engine.Run();
  ExpectAgree(Alone(Request(1, Prompt(1, 20))), engine.Of(1), "paused");
}

TEST_P(EveryRunner, ChoicesShareTheirPromptAndGoTheirOwnWays) {
  Engine engine(*runner_, Golden("llama"));
  wire::Submit greedy = Request(1, Prompt(1, 41));
  greedy.set_choices(3);
  engine.Submit(greedy);
  engine.Run();
  for (uint32_t choice = 0; choice < 3; ++choice)
    ExpectAgree(Alone(Request(1, Prompt(1, 41))), engine.Of(1, choice), fmt::format("choice {}", choice));
  // The prompt once, its last token for each choice, and all but the last of what each said.
  EXPECT_EQ(engine.computed[1], 41U + 2 + 3 * (kNewTokens - 1));

  wire::Submit drawn = Request(2, Prompt(2, 41));
  drawn.set_choices(3);
  drawn.mutable_sampling()->set_temperature(5);
  drawn.mutable_sampling()->set_seed(7);
  engine.Submit(drawn);
  engine.Run();
  EXPECT_NE(engine.Of(2, 0).ids, engine.Of(2, 1).ids);
  EXPECT_NE(engine.Of(2, 1).ids, engine.Of(2, 2).ids);
}

TEST_P(EveryRunner, APromptSeenBeforeIsNotComputedAgain) {
  Engine engine(*runner_, Golden("llama"));
  const auto prompt = Prompt(5, 40);
  engine.Submit(Request(1, prompt));
  engine.Run();
  auto other = prompt;
  other.back() = (other.back() + 1) % kVocabulary;
  engine.Submit(Request(2, prompt));
  engine.Submit(Request(3, other));
  engine.Run();
  EXPECT_EQ(engine.Of(2).cached, 32U);
  EXPECT_EQ(engine.Of(3).cached, 32U);
  EXPECT_EQ(engine.computed[2], 8U + kNewTokens - 1);
  ExpectAgree(engine.Of(1), engine.Of(2), "the same prompt");
  ExpectAgree(Alone(Request(3, other)), engine.Of(3), "a prompt that begins the same");
}

TEST_P(EveryRunner, MeasuresItsChipTime) {
  Engine engine(*runner_, Golden("llama"));
  engine.Submit(Request(1, Prompt(1, 20)));
  engine.Run();
  EXPECT_GT(engine.chip_ns[1], 0U);
  EXPECT_NE(runner_->Chip().name, "");
  EXPECT_EQ(engine.state().kernel(), runner_->Chip().kernel);
}

// native, and ggml on the devices that PENSTOCK_TEST_GGML names ("CPU,Vulkan0"); else on the CPU: Mesa's
// Vulkan spends minutes compiling.
std::vector<Device> Devices() {
  std::vector<Device> devices = {{"native", ""}};
  const char* named = std::getenv("PENSTOCK_TEST_GGML");
  std::istringstream names(named == nullptr ? "CPU" : named);
  for (std::string name; std::getline(names, name, ',');) devices.push_back({"ggml", name});
  return devices;
}

INSTANTIATE_TEST_SUITE_P(On, EveryRunner, ::testing::ValuesIn(Devices()),
                         [](const auto& param) { return param.param.runner + param.param.name; });

}  // namespace
}  // namespace penstock
