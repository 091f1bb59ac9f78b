#include "model/files/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace penstock {
namespace {

using ::testing::HasSubstr;

Result<ModelConfig> Read(std::string_view extra, std::string_view type = "qwen2") {
  const auto json = JsonObject::Parse(
      fmt::format(
          R"({{"model_type": "{}", "num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4,
          "num_key_value_heads": 2, "intermediate_size": 96, "max_position_embeddings": 4096 {}}})",
          type, extra),
      "c.json");
  if (!json.has_value()) return std::unexpected(json.error());
  return ConfigFromJson(*json);
}

std::string Defect(std::string_view extra, std::string_view type = "qwen2") {
  const auto config = Read(extra, type);
  return config.has_value() ? "it was read" : config.error().message;
}

TEST(Config, FillsWhatHuggingFaceLeavesToDefaults) {
  const auto c = Read("");
  ASSERT_TRUE(c.has_value()) << c.error().message;
  EXPECT_EQ(c->head_dim, 16);
  EXPECT_EQ(c->rope_base, 10'000);
  EXPECT_TRUE(c->rope_neox);
  EXPECT_EQ(c->scaling.kind, RopeScaling::Kind::kNone);
}

TEST(Config, ReadsRopeScalingInItsOldAndNewPlaces) {
  for (const auto* where :
       {R"(, "rope_theta": 5e5, "rope_scaling": {"type": "yarn", "factor": 4})",
        R"(, "rope_parameters": {"rope_theta": 5e5, "rope_type": "yarn", "factor": 4})"}) {
    const auto c = Read(where);
    ASSERT_TRUE(c.has_value()) << c.error().message;
    EXPECT_EQ(c->scaling.kind, RopeScaling::Kind::kYarn);
    EXPECT_EQ(c->scaling.factor, 4);
    EXPECT_EQ(c->scaling.original_context, 4096);
    EXPECT_EQ(c->rope_base, 5e5);
  }
}

// transformers: `rope_scaling or rope_parameters`, then the theta outside.
TEST(Config, RopeScalingWinsOverRopeParameters) {
  const auto both = Read(R"(, "rope_theta": 7e4, "rope_scaling": {"type": "linear", "factor": 2},
      "rope_parameters": {"rope_theta": 5e5, "rope_type": "yarn", "factor": 4})");
  ASSERT_TRUE(both.has_value()) << both.error().message;
  EXPECT_EQ(both->scaling.kind, RopeScaling::Kind::kLinear);
  EXPECT_EQ(both->rope_base, 7e4);
  for (const auto* empty : {"{}", "null"}) {
    const auto c = Read(fmt::format(
        R"(, "rope_scaling": {}, "rope_parameters": {{"rope_theta": 5e5, "rope_type": "linear", "factor": 4}})",
        empty));
    ASSERT_TRUE(c.has_value()) << c.error().message;
    EXPECT_EQ(c->scaling.factor, 4);
    EXPECT_EQ(c->rope_base, 5e5);
  }
  EXPECT_EQ(Read(R"(, "rope_parameters": {"rope_theta": 5e5}, "rope_theta": 7e4)")->rope_base, 5e5);
  EXPECT_EQ(Read(R"(, "rope_scaling": {"rope_type": "linear", "type": "yarn", "factor": 2})")->scaling.kind,
            RopeScaling::Kind::kLinear);
}

TEST(Config, TheOriginalContextOutsideWins) {
  constexpr auto kYarn = R"(, "rope_scaling": {{"type": "yarn", "factor": 4{}}}{})";
  constexpr auto kInside = R"(, "original_max_position_embeddings": 512)";
  const auto original = [&](std::string_view inside, std::string_view outside) {
    return Read(fmt::format(fmt::runtime(kYarn), inside, outside))->scaling.original_context;
  };
  EXPECT_EQ(original("", ""), 4096);
  EXPECT_EQ(original(kInside, ""), 512);
  EXPECT_EQ(original(kInside, R"(, "original_max_position_embeddings": 1024)"), 1024);
  EXPECT_EQ(original("", R"(, "original_max_position_embeddings": 1024)"), 1024);
}

TEST(Config, YarnWithANullFactorTakesTheRatioOfContexts) {
  const auto c =
      Read(R"(, "rope_scaling": {"type": "yarn", "factor": null, "original_max_position_embeddings": 1024})");
  ASSERT_TRUE(c.has_value()) << c.error().message;
  EXPECT_EQ(c->scaling.factor, 4);
}

TEST(Config, WhatTransformersRejectsIsRefused) {
  EXPECT_THAT(Defect(R"(, "rope_scaling": {"type": "yarn"})"), HasSubstr("\"factor\" is missing"));
  EXPECT_THAT(Defect(R"(, "rope_scaling": {"type": "linear"})"), HasSubstr("\"factor\" is missing"));
  EXPECT_THAT(Defect(R"(, "rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1})"),
              HasSubstr("\"high_freq_factor\" is missing"));
  EXPECT_THAT(Defect(R"(, "rope_theta": null)"), HasSubstr("\"rope_theta\" is null"));
  EXPECT_THAT(Defect(R"(, "rope_parameters": {"rope_theta": null})"), HasSubstr("\"rope_theta\" is null"));
  EXPECT_THAT(Defect(R"(, "hidden_size": null)"), HasSubstr("\"hidden_size\" is null"));
  EXPECT_THAT(Defect(R"(, "head_dim": null)", "qwen3"), HasSubstr("\"head_dim\" is null"));
  EXPECT_THAT(Defect(R"(, "rope_parameters": {"full_attention": {"rope_theta": 1e4}})"),
              HasSubstr("\"full_attention\""));
  EXPECT_THAT(Defect(R"(, "rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5})"),
              HasSubstr("\"partial_rotary_factor\" is 0.5"));
  EXPECT_THAT(Defect(R"(, "hidden_size": 66)", "llama"), HasSubstr("\"hidden_size\" 66 is not a multiple"));
}

TEST(Config, MissingFieldsHaveTheDefaultsOfTheirClass) {
  EXPECT_EQ(Read("", "qwen3")->head_dim, 128);
  EXPECT_EQ(Read("", "mistral")->head_dim, 16);
  EXPECT_EQ(Read(R"(, "head_dim": null)", "llama")->head_dim, 16);
  EXPECT_EQ(Read(R"(, "num_key_value_heads": null)")->kv_heads, 4);
  const auto bare = [](std::string_view type) {
    return *ConfigFromJson(*JsonObject::Parse(fmt::format(R"({{"model_type": "{}"}})", type), "c.json"));
  };
  EXPECT_EQ(bare("llama").kv_heads, 32);
  EXPECT_EQ(bare("mistral").kv_heads, 8);
  EXPECT_EQ(bare("mistral").context, 4096) << "its window, by default";
  EXPECT_EQ(bare("qwen3_moe").experts, 128);
  EXPECT_EQ(bare("qwen2").vocabulary, 151'936);
}

TEST(Config, ASlidingWindowCapsTheContext) {
  constexpr auto kWindow = R"(, "use_sliding_window": true, "sliding_window": 1024)";
  const auto context = [&](std::string_view extra, std::string_view type = "qwen2") {
    const auto c = Read(extra, type);
    return c.has_value() ? c->context : -1;
  };
  EXPECT_EQ(context(fmt::format(R"({}, "max_window_layers": 1)", kWindow)), 1024);
  EXPECT_EQ(
      context(R"(, "use_sliding_window": true, "max_window_layers": 0, "max_position_embeddings": 9000)"),
      4096);
  EXPECT_EQ(context(kWindow), 4096) << "max_window_layers is 28: no layer has the window";
  EXPECT_EQ(context(R"(, "use_sliding_window": false, "sliding_window": 1024, "max_window_layers": 0)"),
            4096);
  EXPECT_EQ(context(R"(, "sliding_window": 1024, "max_window_layers": 0)"), 4096);
  EXPECT_EQ(context(fmt::format(R"({}, "layer_types": ["full_attention", "sliding_attention"])", kWindow)),
            1024);
  EXPECT_EQ(context(fmt::format(R"({}, "layer_types": ["full_attention", "full_attention"])", kWindow)),
            4096);
  EXPECT_EQ(context(R"(, "sliding_window": 1024)", "llama"), 4096) << "LlamaConfig has no window";
  EXPECT_EQ(context(R"(, "sliding_window": 1024)", "mistral"), 1024);
  EXPECT_EQ(context(R"(, "sliding_window": null)", "mistral"), 4096);
  EXPECT_EQ(context(R"(, "max_position_embeddings": 9000)", "mistral"), 4096) << "MistralConfig's default";
  EXPECT_THAT(Defect(R"(, "layer_types": ["full_attention", "sliding_attention"])"),
              HasSubstr("\"sliding_attention\", which is not supported without a sliding_window in use"));
  EXPECT_THAT(Defect(R"(, "layer_types": ["full_attention"])"), HasSubstr("for each of 2 layers"));
}

TEST(Config, WhatIsNotServedIsNamed) {
  EXPECT_THAT(Defect("", "gemma3"),
              HasSubstr("architecture \"gemma3\" is not supported; supported: llama, mistral, qwen2"));
  EXPECT_THAT(Defect(R"(, "rope_scaling": {"rope_type": "longrope"})"),
              HasSubstr("rope scaling \"longrope\""));
  EXPECT_THAT(Defect(R"(, "hidden_act": "gelu")"), HasSubstr("\"hidden_act\" is gelu"));
  EXPECT_THAT(Defect(R"(, "quantization_config": {})"), HasSubstr("quantization_config"));
  EXPECT_THAT(
      Defect(
          R"(, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8, "mlp_only_layers": [0])",
          "qwen3_moe"),
      HasSubstr("mlp_only_layers"));
}

TEST(Config, NumbersThatMakeNoSenseAreNamed) {
  EXPECT_THAT(Defect(R"(, "rms_norm_eps": -1)"), HasSubstr("\"rms_norm_eps\" is -1"));
  EXPECT_THAT(Defect(R"(, "head_dim": 15)"), HasSubstr("15 dimensions cannot be rotated"));
  EXPECT_THAT(Defect(R"(, "rope_theta": 0.5)"), HasSubstr("rope base of 0.5"));
  EXPECT_THAT(Defect(R"(, "rope_scaling": {"rope_type": "linear", "factor": 0.1})"),
              HasSubstr("factor of 0.1"));
  EXPECT_THAT(
      Defect(R"(, "num_experts": 2, "num_experts_per_tok": 3, "moe_intermediate_size": 8)", "qwen3_moe"),
      HasSubstr("3 of 2 experts"));
  EXPECT_THAT(Defect(R"(, "head_dim": "big")"), HasSubstr("\"head_dim\" should be an integer"));
}

}  // namespace
}  // namespace penstock
