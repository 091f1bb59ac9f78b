// The whole engine over the native runner: what a request says does not depend on anything but itself.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <map>

#include "base/random.h"
#include "engine/loop.h"
#include "kernels/kernels.h"
#include "model/test_gguf.h"
#include "runner/native.h"

namespace penstock {
namespace {

constexpr uint64_t kRequests = 16;
constexpr int32_t kVocabulary = 48;  // of TinyModel

struct Setting {
  kernels::Isa isa = kernels::Isa::kReference;
  bool prefix_cache = true;
  uint64_t kv_bytes = 8 << 20;
  int32_t step_tokens = 512;
};

struct Said {
  std::map<uint64_t, std::string> ids;  // of each request, with their log-probabilities' bits
  uint64_t preemptions = 0, hits = 0;
};

// Greedy; every second one begins as the first does, so that the prefix cache has something to find.
wire::Submit Request(uint64_t id) {
  Random random(id), common(99);
  wire::Submit submit;
  submit.set_request(id);
  submit.set_model("m");
  for (int i = 0; i < (id % 2 == 0 ? 20 : 0); ++i)
    submit.add_prompt(static_cast<int32_t>(common.Below(kVocabulary)));
  for (uint64_t i = 0; i <= random.Below(12); ++i)
    submit.add_prompt(static_cast<int32_t>(random.Below(kVocabulary)));
  submit.set_max_tokens(24);
  submit.set_prefix_scope("t");
  submit.mutable_sampling()->set_top_p(1);
  submit.mutable_sampling()->set_top_logprobs(1);
  return submit;
}

class NativeEngine : public ::testing::Test {
 protected:
  NativeEngine() : path_(fmt::format("{}/penstock-engine-native-{}.gguf", ::testing::TempDir(), getpid())) {
    testing::WriteBytes(path_, testing::TinyModel(kernels::Format::kQ4_0).Build());
  }
  ~NativeEngine() override { std::filesystem::remove(path_); }

  Said Say(const Setting& setting, const std::vector<uint64_t>& requests) {
    auto runner = MakeNativeRunner({.threads = 1, .isa = setting.isa});
    EXPECT_TRUE(runner) << runner.error().message;
    Said said;
    EngineLoop loop(
        **runner,
        {.memory_bytes = 1 << 30, .step_tokens = setting.step_tokens, .prefix_cache = setting.prefix_cache},
        [&](const wire::FromEngine& message) { Hear(message, said); });
    wire::ToEngine load;
    load.mutable_load()->set_name("m");
    load.mutable_load()->set_path(path_);
    load.mutable_load()->set_kv_bytes(setting.kv_bytes);
    loop.Handle(load);
    loop.FinishLoads();
    for (uint64_t id : requests) {
      wire::ToEngine command;
      *command.mutable_submit() = Request(id);
      loop.Handle(command);
    }
    while (loop.Step()) {
    }
    said.preemptions = loop.Load().preemptions();
    said.hits = loop.Load().prefix_hit_tokens();
    return said;
  }

  static std::vector<uint64_t> All() {
    std::vector<uint64_t> ids(kRequests);
    for (uint64_t i = 0; i < kRequests; ++i) ids[i] = i + 1;
    return ids;
  }

  std::map<uint64_t, std::string> Alone() {
    std::map<uint64_t, std::string> alone;
    for (uint64_t id : All())
      alone.merge(Say({.isa = kernels::SupportedIsas().back(), .prefix_cache = false}, {id}).ids);
    return alone;
  }

 private:
  static void Hear(const wire::FromEngine& message, Said& said) {
    if (message.has_model()) {
      EXPECT_EQ(message.model().error().text(), "");
    }
    for (const auto& event : message.step().tokens()) {
      EXPECT_EQ(event.error().text(), "");
      EXPECT_EQ(event.ids_size(), event.logprobs_size());
      for (const auto& logprob : event.logprobs()) {
        said.ids[event.request()] += fmt::format("{}:{:a} ", logprob.token(), logprob.logprob());
      }
    }
  }

 protected:
  const std::string path_;
};

TEST_F(NativeEngine, SixteenTogetherEqualAloneOnEveryKernelVersion) {
  const auto alone = Alone();
  ASSERT_EQ(alone.size(), kRequests);
  for (const kernels::Isa isa : kernels::SupportedIsas()) {
    for (const bool cache : {false, true}) {
      for (const int32_t step_tokens : {7, 512}) {
        const Said said = Say({.isa = isa, .prefix_cache = cache, .step_tokens = step_tokens}, All());
        EXPECT_EQ(said.ids, alone) << IsaName(isa) << (cache ? ", cached, " : ", ") << step_tokens;
        EXPECT_EQ(said.hits > 0, cache && step_tokens == 7);
      }
    }
  }
}

TEST_F(NativeEngine, PreemptedEqualsNotPreempted) {
  const auto alone = Alone();
  for (const kernels::Isa isa : kernels::SupportedIsas()) {
    for (const bool cache : {false, true}) {
      const Said said = Say({.isa = isa, .prefix_cache = cache, .kv_bytes = 100 << 10}, All());
      EXPECT_GT(said.preemptions, 0U);
      EXPECT_EQ(said.ids, alone) << IsaName(isa) << (cache ? ", cached" : "");
    }
  }
}

// 24 models of a few hundred kB, default settings, a machine of 2 GB: each has room for its sequences, and
// all answer.
TEST_F(NativeEngine, ManyTinyModelsLoadWithDefaultSettings) {
  auto runner = MakeNativeRunner({.threads = 1, .isa = kernels::SupportedIsas().back()});
  ASSERT_TRUE(runner);
  std::map<std::string, wire::ModelState::State> states;
  size_t answered = 0;
  EngineLoop loop(**runner, {.memory_bytes = uint64_t{2} << 30}, [&](const wire::FromEngine& message) {
    if (message.has_model()) states[message.model().name()] = message.model().state();
    for (const auto& event : message.step().tokens()) answered += event.finish() == wire::LENGTH ? 1 : 0;
  });
  for (int i = 0; i < 24; ++i) {
    wire::ToEngine load;
    load.mutable_load()->set_name(fmt::format("m{}", i));
    load.mutable_load()->set_path(path_);
    loop.Handle(load);
  }
  loop.FinishLoads();
  EXPECT_EQ(states.size(), 24U);
  for (const auto& [name, state] : states) EXPECT_EQ(state, wire::ModelState::READY) << name;
  for (uint64_t i = 0; i < 24; ++i) {
    wire::ToEngine command;
    *command.mutable_submit() = Request(i + 1);
    command.mutable_submit()->set_model(fmt::format("m{}", i));
    loop.Handle(command);
  }
  while (loop.Step()) {
  }
  EXPECT_EQ(answered, 24U);
}

}  // namespace
}  // namespace penstock
