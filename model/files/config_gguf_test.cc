// What a GGUF's metadata means. The expected values are libllama 0.5's (llama-model.cpp, load_hparams).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "model/files/config.h"
#include "model/files/keys.h"
#include "model/test_gguf.h"

namespace penstock {
namespace {

using testing::Bytes;
using testing::GgufWriter;
using ::testing::HasSubstr;

using Change = std::function<void(GgufWriter&)>;

Result<ModelConfig> Read(const Change& change, const std::string& arch = "llama") {
  GgufWriter w;
  w.String("general.architecture", arch).U32(arch + ".block_count", 2).U32(arch + ".context_length", 4096);
  w.U32(arch + ".embedding_length", 64).F32(arch + ".attention.layer_norm_rms_epsilon", 1e-5F);
  if (arch == "llama" || arch == "qwen2") w.U32(arch + ".feed_forward_length", 96);
  change(w);
  w.Tensor("a", kernels::Format::kF32, {4}, Bytes(16));
  const Bytes bytes = w.Build();
  const auto gguf = Gguf::Parse(bytes, "m.gguf");
  if (!gguf.has_value()) return std::unexpected(gguf.error());
  return ConfigFromGguf(*gguf);
}

Result<ModelConfig> WithHeads(const Change& change, const std::string& arch = "llama") {
  return Read(
      [&](GgufWriter& w) {
        w.U32(arch + ".attention.head_count", 4);
        change(w);
      },
      arch);
}

std::string Defect(const Change& change, const std::string& arch = "llama") {
  const auto config = WithHeads(change, arch);
  return config.has_value() ? "it was read" : config.error().message;
}

TEST(GgufConfig, AFactorWithoutATypeIsLinear) {
  for (const auto* key : {"llama.rope.scaling.factor", "llama.rope.scale_linear"}) {
    const auto c = WithHeads([&](GgufWriter& w) { w.F32(key, 4); });
    ASSERT_TRUE(c.has_value()) << c.error().message;
    EXPECT_EQ(c->scaling.kind, RopeScaling::Kind::kLinear) << key;
    EXPECT_EQ(c->scaling.factor, 4) << key;
  }
}

TEST(GgufConfig, TheNewNameOfTheFactorWinsAndZeroIsNone) {
  const auto c = WithHeads(
      [](GgufWriter& w) { w.F32("llama.rope.scaling.factor", 0).F32("llama.rope.scale_linear", 4); });
  EXPECT_EQ(c->scaling.kind, RopeScaling::Kind::kNone);
  const auto none = WithHeads(
      [](GgufWriter& w) { w.String("llama.rope.scaling.type", "none").F32("llama.rope.scaling.factor", 4); });
  EXPECT_EQ(none->scaling.kind, RopeScaling::Kind::kNone);
}

TEST(GgufConfig, TheAttentionFactorMultipliesWhateverTheType) {
  EXPECT_EQ(WithHeads([](GgufWriter& w) {
              w.F32("llama.rope.scaling.attn_factor", 1.5F);
            })->scaling.attention_factor,
            1.5);
  const auto yarn = WithHeads([](GgufWriter& w) {
    w.String("llama.rope.scaling.type", "yarn").F32("llama.rope.scaling.factor", 4);
    w.F32("llama.rope.scaling.attn_factor", 1.5F);
  });
  EXPECT_NEAR(yarn->scaling.attention_factor, 1.5 * (0.1 * std::log(4.0) + 1), 1e-12);
}

TEST(GgufConfig, ArraysOfEqualNumbersAreRead) {
  const auto c = Read([](GgufWriter& w) {
    w.Ints("llama.attention.head_count", {4, 4}).Ints("llama.attention.head_count_kv", {2, 2});
  });
  ASSERT_TRUE(c.has_value()) << c.error().message;
  EXPECT_EQ(c->heads, 4);
  EXPECT_EQ(c->kv_heads, 2);
  EXPECT_THAT(Defect([](GgufWriter& w) { w.Ints("llama.attention.head_count_kv", {2, 4}); }),
              HasSubstr("\"llama.attention.head_count_kv\" differs between layers"));
}

TEST(GgufConfig, AWindowEndsTheContext) {
  EXPECT_EQ(WithHeads([](GgufWriter& w) { w.U32("llama.attention.sliding_window", 1024); })->context, 1024);
  EXPECT_EQ(WithHeads([](GgufWriter& w) { w.U32("llama.attention.sliding_window", 0); })->context, 4096);
}

TEST(GgufConfig, AnUnknownKeyOfTheArchitectureIsRefusedByName) {
  EXPECT_THAT(Defect([](GgufWriter& w) { w.F32("llama.attention.unheard_of", 1); }),
              HasSubstr("\"llama.attention.unheard_of\" is not known"));
  EXPECT_THAT(Defect([](GgufWriter& w) { w.F32("llama.final_logit_softcapping", 30); }),
              HasSubstr("\"llama.final_logit_softcapping\" is 30"));
  EXPECT_EQ(Defect([](GgufWriter& w) { w.F32("qwen2.unheard_of", 1).F32("foo.bar", 1); }), "it was read")
      << "of another prefix";
  EXPECT_EQ(Defect([](GgufWriter& w) { w.F32("llama.final_logit_softcapping", 0); }), "it was read");
}

// Every key that libllama knows is either in our table or refused.
TEST(GgufConfig, EveryKeyInTheTableIsAcceptedOnlyAtItsValues) {
  for (const KeyRow& row : GgufKeys()) {
    if (row.use != KeyRow::Use::kOnly || row.architectures == "qwen3moe") continue;
    const std::string key = fmt::format("llama.{}", row.key);
    EXPECT_THAT(Defect([&](GgufWriter& w) { w.U32(key, 77); }), HasSubstr(fmt::format("\"{}\" is 77", key)));
  }
}

TEST(GgufConfig, BothDirectionsAreRefused) {
  EXPECT_THAT(
      Defect([](GgufWriter& w) { w.Key("llama.attention.causal", GgufValue::Type::kBool, uint8_t{0}); }),
      HasSubstr("\"llama.attention.causal\" is false"));
  EXPECT_EQ(
      Defect([](GgufWriter& w) { w.Key("llama.attention.causal", GgufValue::Type::kBool, uint8_t{1}); }),
      "it was read");
}

TEST(GgufConfig, RotatingPartOfALlamaHeadIsADefect) {
  EXPECT_THAT(Defect([](GgufWriter& w) { w.U32("llama.rope.dimension_count", 8); }),
              HasSubstr("\"llama.rope.dimension_count\" is 8"));
}

}  // namespace
}  // namespace penstock
