// Logits compared with Hugging Face transformers on tiny random models of every architecture and rope variant
// (tools/make_logit_goldens.py), in f32: with both kinds of file, every kernel version, any chunking.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <string>
#include <vector>

#include "chip/threads.h"
#include "model/files/file.h"
#include "model/model.h"

namespace penstock {
namespace {

constexpr float kTolerance = 1e-4F;

const std::string& Folder() {
  static const std::string folder = std::string(PENSTOCK_SOURCE_DIR) + "/model/testdata/logits/";
  return folder;
}

template <class T>
std::vector<T> ReadArray(const std::string& path) {
  const auto content = ReadSmallFile(path, 1 << 20);
  EXPECT_TRUE(content.has_value()) << content.error().message;
  std::vector<T> values(content->size() / sizeof(T));
  std::memcpy(values.data(), content->data(), values.size() * sizeof(T));
  return values;
}

// The names of the golden cases: "llama", "llama-yarn", …
std::vector<std::string> Cases() {
  std::vector<std::string> cases;
  for (const auto& entry : std::filesystem::directory_iterator(Folder())) {
    if (entry.path().extension() == ".gguf") cases.push_back(entry.path().stem().string());
  }
  std::ranges::sort(cases);
  return cases;
}

chip::ThreadPool& Pool() {
  static chip::ThreadPool pool(2);
  return pool;
}

struct Session {
  std::unique_ptr<Model> model;
  KvPages kv;
  std::vector<PageId> pages;
};

Session Open(const std::string& path, kernels::Isa isa) {
  auto files = ModelFiles::Open(path);
  EXPECT_TRUE(files.has_value()) << files.error().message;
  auto model = Model::Load(*std::move(files), WeightMode::kPacked, kernels::KernelsFor(isa), Pool());
  EXPECT_TRUE(model.has_value()) << model.error().message;
  auto kv = KvPages::Create((*model)->config(), kernels::KvType::kF32, 4);
  return {*std::move(model), *std::move(kv), {2, 0, 3, 1}};  // pages may be in any order
}

// All logits of `tokens`, computed in chunks of `chunk`.
std::vector<float> Logits(Session& s, const std::vector<Token>& tokens, size_t chunk) {
  std::vector<float> all;
  for (size_t at = 0; at < tokens.size(); at += chunk) {
    const auto part = std::span(tokens).subspan(at, std::min(chunk, tokens.size() - at));
    const Chunk work{static_cast<int32_t>(at), part, s.pages, static_cast<int32_t>(part.size())};
    const auto logits = s.model->Run({&work, 1}, s.kv);
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

float MaxDifference(const std::vector<float>& a, const std::vector<float>& b) {
  float most = a.size() == b.size() ? 0 : INFINITY;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) most = std::max(most, std::abs(a[i] - b[i]));
  return most;
}

class LogitGolden : public testing::TestWithParam<std::string> {
 protected:
  const std::vector<Token> tokens_ = ReadArray<Token>(Folder() + "tokens.i32");
  const std::vector<float> expected_ = ReadArray<float>(Folder() + GetParam() + ".logits.f32");
};

TEST_P(LogitGolden, GgufGivesTheLogitsOfTransformers) {
  for (const auto isa : kernels::SupportedIsas()) {
    auto session = Open(Folder() + GetParam() + ".gguf", isa);
    EXPECT_LE(MaxDifference(Logits(session, tokens_, tokens_.size()), expected_), kTolerance) << IsaName(isa);
  }
}

TEST_P(LogitGolden, HuggingFaceFolderGivesTheLogitsOfTransformers) {
  for (const auto isa : kernels::SupportedIsas()) {
    auto session = Open(Folder() + GetParam(), isa);
    EXPECT_LE(MaxDifference(Logits(session, tokens_, tokens_.size()), expected_), kTolerance) << IsaName(isa);
  }
}

TEST_P(LogitGolden, ChunkingAndKernelVersionChangeNoBit) {
  auto reference = Open(Folder() + GetParam() + ".gguf", kernels::Isa::kReference);
  const auto whole = Logits(reference, tokens_, tokens_.size());
  for (const auto isa : kernels::SupportedIsas()) {
    auto session = Open(Folder() + GetParam() + ".gguf", isa);
    for (const size_t chunk : {size_t{1}, size_t{7}, size_t{16}, tokens_.size()}) {
      EXPECT_EQ(Logits(session, tokens_, chunk), whole) << IsaName(isa) << " in chunks of " << chunk;
    }
  }
}

TEST_P(LogitGolden, WantingOnlyTheLastLogitsChangesNoBit) {
  auto session = Open(Folder() + GetParam() + ".gguf", kernels::SupportedIsas().back());
  const auto whole = Logits(session, tokens_, tokens_.size());
  const Chunk work{0, tokens_, session.pages, 1};
  const auto last = session.model->Run({&work, 1}, session.kv);
  EXPECT_TRUE(std::ranges::equal(last, std::span(whole).last(last.size())));
}

INSTANTIATE_TEST_SUITE_P(EveryArchitectureAndRopeVariant, LogitGolden, testing::ValuesIn(Cases()),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

// Mistral computes as Llama does; only the configuration differs.
TEST(Mistral, GivesTheLogitsOfLlamaWithinItsWindow) {
  namespace fs = std::filesystem;
  const std::string folder = testing::TempDir() + "/penstock_mistral_" + std::to_string(::getpid());
  fs::copy(Folder() + "llama", folder, fs::copy_options::recursive);
  auto config = *ReadSmallFile(folder + "/config.json", 1 << 20);
  config.replace(config.find("\"llama\""), 7, R"("mistral", "sliding_window": 48)");
  std::ofstream(folder + "/config.json") << config;
  const auto tokens = ReadArray<Token>(Folder() + "tokens.i32");
  auto session = Open(folder, kernels::SupportedIsas().back());
  EXPECT_EQ(session.model->config().context, 48);
  EXPECT_LE(
      MaxDifference(Logits(session, tokens, tokens.size()), ReadArray<float>(Folder() + "llama.logits.f32")),
      kTolerance);
  fs::remove_all(folder);
}

TEST(LogitGoldens, CoverEveryArchitectureAndRopeVariant) {
  EXPECT_THAT(Cases(), testing::ElementsAre("llama", "llama-linear", "llama-llama3", "llama-yarn", "qwen2",
                                            "qwen2-linear", "qwen2-llama3", "qwen2-yarn", "qwen3",
                                            "qwen3-yarn", "qwen3moe", "qwen3moe-yarn"));
}

}  // namespace
}  // namespace penstock
