#include "runner/native.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>

#include "base/random.h"
#include "model/test_gguf.h"
#include "runner/execute.h"

// Tests name the few fields that they are about.
#pragma clang diagnostic ignored "-Wmissing-designated-field-initializers"

namespace penstock {
namespace {

using kernels::Isa;
using ::testing::HasSubstr;

std::string Golden(const std::string& name) {
  return std::string(PENSTOCK_SOURCE_DIR) + "/model/testdata/logits/" + name;
}

struct Session {
  std::unique_ptr<Runner> runner;
  LoadedModel model;
};

Session Open(const std::string& path, Isa isa, int threads = 2, int64_t kv_bytes = 4 << 20) {
  auto runner = MakeNativeRunner({.threads = threads, .isa = isa, .kv = kernels::KvType::kF16});
  EXPECT_TRUE(runner.has_value()) << runner.error().message;
  auto model = (*runner)->Load({path, kv_bytes, 0});
  EXPECT_TRUE(model.has_value()) << model.error().message;
  return {*std::move(runner), *std::move(model)};
}

// One request of the tests: a prompt of its own, greedy or drawn, with log-probabilities.
struct Request {
  std::vector<Token> prompt;
  Sampling sampling;
};

Request MakeRequest(uint64_t id, int32_t vocabulary) {
  Random random(id);
  Request request;
  const uint64_t length = 1 + random.Below(24);
  for (uint64_t i = 0; i < length; ++i) {
    request.prompt.push_back(static_cast<Token>(random.Below(static_cast<uint64_t>(vocabulary))));
  }
  request.sampling.temperature = id % 2 == 0 ? 0 : 1;
  request.sampling.seed = id;
  request.sampling.top_logprobs = 2;
  return request;
}

struct Output {
  std::vector<Token> tokens;
  std::vector<float> logprobs;  // of the tokens and of the alternatives
  bool operator==(const Output&) const = default;
};

constexpr int32_t kNewTokens = 8;

class Sequence {
 public:
  // `pages`: where it lives.
  Sequence(uint64_t id, Request request, std::vector<PageId> pages)
      : id_(id), request_(std::move(request)), all_(request_.prompt), pages_(std::move(pages)) {}

  bool done() const { return static_cast<int32_t>(output_.tokens.size()) == kNewTokens; }
  const Output& output() const { return output_; }

  // The next at most `budget` tokens that are still to be computed.
  SequenceStep Next(size_t budget) {
    SequenceStep step;
    const size_t count = std::min(budget, all_.size() - computed_);
    step.sequence = id_;
    step.start = static_cast<int32_t>(computed_);
    step.tokens.assign(all_.begin() + static_cast<ptrdiff_t>(computed_),
                       all_.begin() + static_cast<ptrdiff_t>(computed_ + count));
    step.pages = pages_;
    step.sample = computed_ + count == all_.size();
    step.sampling = request_.sampling;
    computed_ += count;
    return step;
  }
  void Take(const Sampled& sampled) {
    all_.push_back(sampled.token);
    output_.tokens.push_back(sampled.token);
    output_.logprobs.push_back(sampled.logprob);
    for (const auto& top : sampled.top) output_.logprobs.push_back(top.logprob);
  }

 private:
  uint64_t id_;
  Request request_;
  std::vector<Token> all_;
  std::vector<PageId> pages_;
  size_t computed_ = 0;
  Output output_;
};

// All sequences to their end; in each step each gets a random part of its prompt, and some get nothing.
void Finish(Session& session, std::vector<Sequence>& sequences, uint64_t seed) {
  Random random(seed);
  for (;;) {
    StepPlan plan;
    plan.model = session.model.id;
    std::map<SequenceId, Sequence*> sampling;
    for (auto& sequence : sequences) {
      if (sequence.done() || (sequences.size() > 1 && random.Below(4) == 0)) continue;
      plan.work.push_back(sequence.Next(sequences.size() > 1 ? 1 + random.Below(9) : 1000));
      if (plan.work.back().sample) sampling[plan.work.back().sequence] = &sequence;
    }
    if (std::ranges::all_of(sequences, &Sequence::done)) return;
    if (plan.work.empty()) continue;
    const auto result = Execute(*session.runner, std::move(plan));
    ASSERT_TRUE(result.has_value()) << result.error().message;
    ASSERT_EQ(result->sampled.size(), sampling.size());
    for (const auto& sampled : result->sampled) sampling.at(sampled.sequence)->Take(sampled);
  }
}

Output Alone(const std::string& path, uint64_t id) {
  auto session = Open(path, kernels::SupportedIsas().back(), 1);
  std::vector<Sequence> one;
  one.emplace_back(id, MakeRequest(id, session.model.vocabulary), std::vector<PageId>{0, 1, 2});
  Finish(session, one, 0);
  return one[0].output();
}

// Of a golden model, or of a tiny model in the weight format of that name, made now.
std::string Path(const std::string& name) {
  if (name.ends_with(".gguf")) return Golden(name);
  for (const auto& info : kernels::Formats()) {
    if (info.name != name) continue;
    const std::string path = ::testing::TempDir() + "/penstock_batch_" + std::to_string(::getpid()) + name;
    testing::WriteBytes(path, testing::TinyModel(info.format).Build());
    return path;
  }
  ADD_FAILURE() << name;
  return {};
}

class BatchEqualsAlone : public ::testing::TestWithParam<std::string> {};

// Sixteen sequences in one batch, differently chunked, on scattered pages, on every kernel version: each
// gives bit for bit the tokens and log-probabilities that it gives alone on the fastest.
TEST_P(BatchEqualsAlone, OnEveryKernelVersion) {
  constexpr uint64_t kSequences = 16;
  const std::string path = Path(GetParam());
  std::vector<Output> alone;
  for (uint64_t id = 0; id < kSequences; ++id) alone.push_back(Alone(path, id));
  for (const Isa isa : kernels::SupportedIsas()) {
    auto session = Open(path, isa);
    std::vector<Sequence> sequences;
    for (uint64_t id = 0; id < kSequences; ++id) {
      const auto page = static_cast<PageId>(id);
      sequences.emplace_back(id, MakeRequest(id, session.model.vocabulary),
                             std::vector<PageId>{page, 47 - page, 16 + (page * 7) % 16});
    }
    Finish(session, sequences, static_cast<uint64_t>(isa));
    for (uint64_t id = 0; id < kSequences; ++id) {
      EXPECT_TRUE(sequences[id].output() == alone[id]) << IsaName(isa) << ", sequence " << id;
    }
  }
  if (path != Golden(GetParam())) std::filesystem::remove(path);
}

INSTANTIATE_TEST_SUITE_P(EveryArchitectureAndSomeFormats, BatchEqualsAlone,
                         ::testing::Values("llama.gguf", "qwen2.gguf", "qwen3.gguf", "qwen3moe.gguf", "Q4_1",
                                           "Q5_0", "Q4_K", "Q6_K"),
                         [](const auto& param) { return param.param.substr(0, param.param.find('.')); });

TEST(NativeRunner, ACopiedPageContinuesAsTheOriginal) {
  auto session = Open(Golden("llama.gguf"), kernels::SupportedIsas().back());
  const Request request = MakeRequest(2, session.model.vocabulary);
  const auto prefill = [&](PageId page, std::vector<SequenceOp> ops, int32_t start) {
    StepPlan plan;
    plan.model = session.model.id;
    plan.ops = std::move(ops);
    const std::vector<Token> tokens = {1, 2, 3, 4, 5};
    plan.work.push_back({
        .sequence = 1,
        .start = start,
        .tokens = {tokens.begin() + start, tokens.end()},
        .pages = {page},
        .sample = true,
        .sampling = {.temperature = 0, .top_logprobs = 0},
    });
    return Execute(*session.runner, std::move(plan))->sampled.at(0);
  };
  const auto whole = prefill(0, {}, 0);
  const auto forked = prefill(9, {{.kind = SequenceOp::Kind::kCopyPage, .from_page = 0, .to_page = 9}}, 3);
  EXPECT_EQ(forked.token, whole.token);
  EXPECT_EQ(forked.logprob, whole.logprob);
  const auto zeroed = prefill(9, {{.kind = SequenceOp::Kind::kZeroPage, .to_page = 9}}, 3);
  EXPECT_NE(zeroed.logprob, whole.logprob);
}

TEST(NativeRunner, SeveralModelsAreLoadedAtOnce) {
  auto session = Open(Golden("llama.gguf"), kernels::SupportedIsas().back());
  const auto other = session.runner->Load({Golden("qwen3"), 1 << 20, 32});
  ASSERT_TRUE(other.has_value()) << other.error().message;
  EXPECT_NE(other->id, session.model.id);
  EXPECT_EQ(other->context, 32);
  const auto step = [&](ModelId id) {
    StepPlan plan;
    plan.model = id;
    plan.work.push_back({
        .sequence = 1,
        .start = 0,
        .tokens = {1, 2},
        .pages = {0},
        .sample = true,
        .sampling = {.temperature = 0, .top_logprobs = 0},
    });
    return Execute(*session.runner, std::move(plan));
  };
  EXPECT_NE(step(session.model.id)->sampled[0].logprob, step(other->id)->sampled[0].logprob);
  EXPECT_GT(step(other->id)->chip_time, 0);
  session.runner->Unload(session.model.id);
  EXPECT_EQ(step(session.model.id).error().code, Code::kNotFound);
  EXPECT_TRUE(step(other->id).has_value());
}

TEST(NativeRunner, AModelThatDoesNotLoadLeavesTheRunnerAsItWas) {
  auto session = Open(Golden("llama.gguf"), kernels::SupportedIsas().back());
  EXPECT_THAT(session.runner->Load({Golden("none.gguf"), 0, 0}).error().message, HasSubstr("none.gguf"));
  EXPECT_THAT(session.runner->Load({Golden("qwen3"), 16, 0}).error().message,
              HasSubstr("do not hold one page"));
  StepPlan plan;
  plan.model = session.model.id;
  EXPECT_TRUE(Execute(*session.runner, plan).has_value());
}

// Pages beyond what the sequences, and as much again of cache, can fill are of no use; and a page has no
// memory before it is written, nor after it was freed.
TEST(NativeRunner, PagesTakeMemoryAsTheyAreWrittenAndGiveItBack) {
  auto runner = MakeNativeRunner({.threads = 1, .isa = kernels::SupportedIsas().back()});
  ASSERT_TRUE(runner);
  const auto model =
      (*runner)->Load({.path = Golden("llama.gguf"), .kv_bytes = int64_t{1} << 40, .sequences = 3});
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_TRUE(model->on_demand);
  EXPECT_EQ(model->pages, 2 * 3 * PagesFor(model->context));
  const auto capped = (*runner)->Load({.path = Golden("llama.gguf"),
                                       .kv_bytes = int64_t{1} << 40,
                                       .longest_bytes = 2 * model->page_bytes,
                                       .sequences = 3});
  ASSERT_TRUE(capped);
  EXPECT_EQ(capped->context, 2 * kPageTokens);
  const auto sampled = [&](std::vector<FreedPage> freed, int32_t start, std::vector<Token> tokens) {
    StepPlan plan;
    plan.model = model->id;
    plan.freed = std::move(freed);
    plan.work.push_back({.sequence = 1,
                         .start = start,
                         .tokens = std::move(tokens),
                         .pages = {0},
                         .sample = true,
                         .sampling = {.temperature = 0, .top_logprobs = 0}});
    return Execute(*(*runner), std::move(plan))->sampled.at(0).logprob;
  };
  const float whole = sampled({}, 0, {1, 2, 3});
  EXPECT_EQ(sampled({}, 2, {3}), whole) << "what was written is still there";
  EXPECT_NE(sampled({{.model = model->id, .page = 0}}, 2, {3}), whole) << "a freed page forgets";
  StepPlan outside;
  outside.model = model->id;
  outside.freed = {{.model = 99, .page = 0}};
  EXPECT_FALSE(Execute(**runner, std::move(outside)).has_value());
}

TEST(NativeRunner, StepsOfOneModelGoOnAndSayTheSameWhileOthersLoad) {
  auto session = Open(Golden("llama.gguf"), kernels::SupportedIsas().back());
  const auto step = [&] {
    StepPlan plan;
    plan.model = session.model.id;
    plan.work.push_back({.sequence = 1,
                         .start = 0,
                         .tokens = {1, 2, 3},
                         .pages = {0},
                         .sample = true,
                         .sampling = {.temperature = 0, .top_logprobs = 0}});
    return Execute(*session.runner, std::move(plan))->sampled.at(0).logprob;
  };
  const float alone = step();
  std::atomic<int> loads = 0;
  std::thread loading([&] {
    for (; loads < 20; ++loads) {
      const auto loaded = session.runner->Load({Golden("qwen3"), 1 << 20, 0});
      ASSERT_TRUE(loaded) << loaded.error().message;
      session.runner->Unload(loaded->id);
    }
  });
  int steps = 0;
  for (; loads < 20; ++steps) ASSERT_EQ(step(), alone);
  loading.join();
  EXPECT_GT(steps, 20) << "a load held up the steps";
}

TEST(NativeRunner, APlanThatWouldReachOutsideItsMemoryIsAnError) {
  auto session = Open(Golden("llama.gguf"), kernels::SupportedIsas().back());
  const auto refused = [&](SequenceStep work) {
    work.sequence = 1;
    StepPlan plan;
    plan.model = session.model.id;
    plan.work.push_back(std::move(work));
    return !Execute(*session.runner, std::move(plan)).has_value();
  };
  SequenceStep good;
  good.tokens = {1};
  good.pages = {0};
  EXPECT_FALSE(refused(good));
  for (const auto& change : std::vector<std::function<void(SequenceStep&)>>{
           [](auto& w) { w.tokens = {-1}; }, [](auto& w) { w.tokens = {96}; }, [](auto& w) { w.tokens = {}; },
           [](auto& w) { w.pages = {-1}; }, [](auto& w) { w.pages = {1 << 20}; },
           [](auto& w) { w.start = 16; }, [](auto& w) { w.start = -1; }}) {
    SequenceStep bad = good;
    change(bad);
    EXPECT_TRUE(refused(bad));
  }
  StepPlan plan;
  plan.model = session.model.id;
  plan.ops.push_back({.kind = SequenceOp::Kind::kZeroPage, .to_page = 1 << 20});
  EXPECT_FALSE(Execute(*session.runner, plan).has_value());
}

TEST(NativeRunner, AKernelVersionThatDoesNotExistIsNamed) {
  ::setenv("PENSTOCK_ISA", "mmx", 1);
  const auto runner = MakeNativeRunner({});
  ::unsetenv("PENSTOCK_ISA");
  ASSERT_FALSE(runner.has_value());
  EXPECT_THAT(runner.error().message, ::testing::AllOf(HasSubstr("\"mmx\""), HasSubstr("reference")));
}

}  // namespace
}  // namespace penstock
