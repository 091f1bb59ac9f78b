// Damaged model files: each either gives an Error that names the file and the defect, or loads and
// computes; none crashes. One corrupted block of weights changes the logits, in every format.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include "base/random.h"
#include "model/files/assets.h"
#include "model/files/file.h"
#include "model/model.h"
#include "model/test_gguf.h"

namespace penstock {
namespace {

using testing::Bytes;
using ::testing::HasSubstr;

chip::ThreadPool& Pool() {
  static chip::ThreadPool pool(1);
  return pool;
}

const std::vector<Token>& Prompt() {
  static const std::vector<Token> prompt = {1, 5, 9, 2, 40, 3, 17};
  return prompt;
}

// The logits of every token, because quantised activations can round away the effect of a weight on one
// token.
Result<std::vector<float>> Compute(const std::string& path) {
  PENSTOCK_ASSIGN(auto files, ModelFiles::Open(path));
  const auto& kernels = kernels::KernelsFor(kernels::SupportedIsas().back());
  PENSTOCK_ASSIGN(auto model, Model::Load(std::move(files), WeightMode::kPacked, kernels, Pool()));
  PENSTOCK_ASSIGN(const auto kv, KvPages::Create(model->config(), kernels::KvType::kF16, 1));
  std::vector<Token> tokens;
  for (const Token token : Prompt()) tokens.push_back(token % model->vocabulary());
  const std::vector<PageId> pages = {0};
  const Chunk chunk{0, tokens, pages, static_cast<int32_t>(tokens.size())};
  const auto logits = model->Run({&chunk, 1}, kv);
  return std::vector<float>(logits.begin(), logits.end());
}

// Opens a model file in both ways; returns the first error.
Status OpenAll(const std::string& path) {
  const auto assets = ReadTextAssets(path);
  const auto logits = Compute(path);
  if (!logits.has_value()) return std::unexpected(logits.error());
  // Folders of these tests have no tokenizer.
  if (!assets.has_value() && assets.error().code != Code::kNotFound) return std::unexpected(assets.error());
  return {};
}

class Damage : public ::testing::Test {
 protected:
  Damage() { std::filesystem::create_directories(folder_); }
  ~Damage() override { std::filesystem::remove_all(folder_); }

  // The error message; empty: the model loaded and computed.
  std::string Try(const Bytes& bytes, const std::string& file = "m.gguf") {
    testing::WriteBytes(folder_ + "/" + file, bytes);
    const auto status = OpenAll(file == "m.gguf" ? folder_ + "/" + file : folder_);
    if (status.has_value()) return {};
    EXPECT_THAT(status.error().message, HasSubstr(folder_)) << "the error does not name the file";
    EXPECT_NE(status.error().code, Code::kInternal) << status.error().message;
    return status.error().message;
  }

  const std::string folder_ = ::testing::TempDir() + "/penstock_damage_" + std::to_string(::getpid());
};

TEST_F(Damage, TheUndamagedFilesLoad) {
  EXPECT_EQ(Try(testing::TinyModel(kernels::Format::kQ4_0).Build()), "");
}

TEST_F(Damage, FiveHundredMutatedGgufFilesLoadOrNameTheDefect) {
  size_t header = 0;
  const Bytes whole = testing::TinyModel(kernels::Format::kQ4_0).Build(&header);
  Random random(3);
  int refused = 0;
  for (int i = 0; i < 500; ++i) {
    Bytes bytes = whole;
    const size_t at = random.Below(header - 8);
    switch (i % 5) {
      case 0:  // cut off
        bytes.resize(random.Below(bytes.size()));
        break;
      case 1:  // one bit
        bytes[at] ^= static_cast<std::byte>(1U << random.Below(8));
        break;
      case 2:  // one byte
        bytes[at] = static_cast<std::byte>(random.Next() & 0xff);
        break;
      case 3: {  // a number replaced by an extreme one
        const uint64_t extreme[] = {0, 1, 0x7fffffff, 0xffffffff, ~uint64_t{0}, uint64_t{1} << 63};
        std::memcpy(bytes.data() + at, &extreme[random.Below(std::size(extreme))],
                    random.Below(2) == 0 ? 4 : 8);
        break;
      }
      default:  // a piece missing
        bytes.erase(bytes.begin() + static_cast<ptrdiff_t>(at),
                    bytes.begin() + static_cast<ptrdiff_t>(at + 1 + random.Below(64)));
    }
    const std::string defect = Try(bytes);
    refused += defect.empty() ? 0 : 1;
    if (i % 5 == 0) EXPECT_NE(defect, "") << "cut to " << bytes.size();
  }
  EXPECT_GT(refused, 300);
}

class FolderDamage : public Damage {
 protected:
  FolderDamage() {
    const std::string golden = std::string(PENSTOCK_SOURCE_DIR) + "/model/testdata/logits/qwen2/";
    config_ = Read(golden + "config.json");
    weights_ = Read(golden + "model.safetensors");
    testing::WriteBytes(folder_ + "/config.json", config_);
    testing::WriteBytes(folder_ + "/model.safetensors", weights_);
  }
  static Bytes Read(const std::string& path) {
    const auto text = ReadSmallFile(path, 1 << 20);
    EXPECT_TRUE(text.has_value());
    const auto* data = reinterpret_cast<const std::byte*>(text->data());
    return {data, data + text->size()};
  }
  Bytes config_, weights_;
};

TEST_F(FolderDamage, TheUndamagedFolderLoads) {
  EXPECT_EQ(Try(config_, "config.json"), "");
}

TEST_F(FolderDamage, ThreeHundredMutatedSafetensorsLoadOrNameTheDefect) {
  Random random(4);
  uint64_t header = 0;
  std::memcpy(&header, weights_.data(), sizeof(header));
  for (int i = 0; i < 300; ++i) {
    Bytes bytes = weights_;
    if (i % 3 == 0) {
      bytes.resize(random.Below(bytes.size()));
    } else {
      const size_t at = random.Below(header + sizeof(header));
      bytes[at] = i % 3 == 1 ? bytes[at] ^ static_cast<std::byte>(1U << random.Below(8))
                             : static_cast<std::byte>(' ' + random.Below(95));
    }
    const std::string defect = Try(bytes, "model.safetensors");
    if (i % 3 == 0) EXPECT_NE(defect, "") << "cut to " << bytes.size();
  }
}

TEST_F(FolderDamage, TwoHundredMutatedConfigurationsLoadOrNameTheDefect) {
  Random random(5);
  for (int i = 0; i < 200; ++i) {
    Bytes bytes = config_;
    const size_t at = random.Below(bytes.size());
    if (i % 4 == 0) {
      bytes.resize(at);
    } else {
      bytes[at] = static_cast<std::byte>(i % 4 == 1 ? '0' + random.Below(10) : ' ' + random.Below(95));
    }
    const std::string defect = Try(bytes, "config.json");
    if (i % 4 == 0) EXPECT_NE(defect, "") << "cut to " << at;
  }
}

TEST_F(Damage, AnUnknownArchitectureIsNamedAndSoIsWhatIsServed) {
  auto writer = testing::GgufWriter().String("general.architecture", "mamba");
  writer.Tensor("token_embd.weight", kernels::Format::kF32, {4}, Bytes(16));
  EXPECT_THAT(
      Try(writer.Build()),
      HasSubstr(
          "architecture \"mamba\" is not supported; supported: llama, mistral, qwen2, qwen3, qwen3moe"));
}

TEST_F(Damage, ATensorThatNobodyComputesIsRefused) {
  auto writer = testing::TinyModel(kernels::Format::kQ8_0);
  writer.Tensor("blk.0.attn_sinks.weight", kernels::Format::kF32, {4}, Bytes(16));
  EXPECT_THAT(Try(writer.Build()), HasSubstr("\"blk.0.attn_sinks.weight\""));
}

TEST_F(Damage, AVocabularyLargerThanTheEmbeddingIsRefused) {
  Bytes bytes = testing::TinyModel(kernels::Format::kQ8_0).Build();
  // "tokenizer.ggml.tokens" has 48 tokens; change the embedding to 32 rows.
  const std::string name = "token_embd.weight";
  const auto it = std::search(bytes.begin(), bytes.end(), reinterpret_cast<const std::byte*>(name.data()),
                              reinterpret_cast<const std::byte*>(name.data() + name.size()));
  const uint64_t rows = 32;
  std::memcpy(&*it + name.size() + 4 + 8, &rows, sizeof(rows));
  EXPECT_THAT(Try(bytes), HasSubstr("48 tokens, its embedding 32"));
}

class BlockDamage : public Damage, public ::testing::WithParamInterface<kernels::FormatInfo> {};

// Inverts a block's codes and keeps its f16 scales; a float block changes its sign.
void Corrupt(std::span<std::byte> block, const kernels::FormatInfo& info) {
  if (info.block_elements == 1) {
    block.back() ^= std::byte{0x80};
    return;
  }
  const auto halves = kernels::testing::HalfOffsets(info.format);
  for (int i = 0; i < info.block_bytes; ++i) {
    const auto in_half = [&](int offset) { return i == offset || i == offset + 1; };
    if (!std::ranges::any_of(halves, in_half)) block[static_cast<size_t>(i)] ^= std::byte{0xff};
  }
}

// Corrupts one block in each matrix of the model, one after another.
TEST_P(BlockDamage, OneCorruptedBlockChangesTheLogits) {
  const auto& info = GetParam();
  const Bytes whole = testing::TinyModel(info.format).Build();
  const std::string path = folder_ + "/m.gguf";
  testing::WriteBytes(path, whole);
  const auto before = Compute(path);
  ASSERT_TRUE(before.has_value()) << before.error().message;
  const auto gguf = Gguf::Parse(whole, "m");
  for (const Tensor& t : gguf->tensors()) {
    if (t.rows == 1) continue;
    // In the embedding, the row of a token in the prompt.
    const int64_t row = t.name == "token_embd.weight" ? Prompt().back() : t.rows / 2;
    Bytes bytes = whole;
    Corrupt(std::span(bytes).subspan(static_cast<size_t>(t.row(row) - whole.data()),
                                     static_cast<size_t>(info.block_bytes)),
            info);
    testing::WriteBytes(path, bytes);
    const auto after = Compute(path);
    ASSERT_TRUE(after.has_value()) << after.error().message;
    EXPECT_TRUE(*before != *after) << info.name << ": " << t.name;
  }
}

INSTANTIATE_TEST_SUITE_P(EveryFormat, BlockDamage,
                         ::testing::ValuesIn(kernels::Formats().begin(), kernels::Formats().end()),
                         [](const auto& param) { return std::string(param.param.name); });

}  // namespace
}  // namespace penstock
