// The tables of keys, docs/files.md, and what transformers' classes define agree.
#include "model/files/keys.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "model/files/config.h"
#include "model/files/file.h"
#include "model/files/libllama_keys.h"

namespace penstock {
namespace {

using ::testing::HasSubstr;

TEST(KeyTables, AreInTheDocumentation) {
  const std::string path = std::string(PENSTOCK_SOURCE_DIR) + "/docs/files.md";
  const auto text = ReadSmallFile(path, 1 << 20);
  ASSERT_TRUE(text.has_value()) << text.error().message;
  std::string page = *text;
  for (const auto& [name, rows] :
       {std::pair{"gguf", GgufKeys()}, std::pair{"gguf-general", GgufGeneralKeys()},
        std::pair{"config", ConfigFields()}}) {
    const std::string begin = fmt::format("<!-- table {} -->\n", name);
    const size_t from = page.find(begin), to = page.find("<!-- end -->", from);
    ASSERT_NE(to, std::string::npos) << name;
    page.replace(from, to - from, begin + "\n" + KeyTable(rows) + "\n");
  }
  if (std::getenv("PENSTOCK_WRITE_DOCS") != nullptr) std::ofstream(path) << page;
  EXPECT_TRUE(page == *text) << "write it again: PENSTOCK_WRITE_DOCS=1 build/release/model/model_test "
                                "--gtest_filter=KeyTables.*";
}

// The fields of transformers 5.24's classes (dataclasses.fields), those of PreTrainedConfig included.
const std::map<std::string, std::vector<std::string>> kClassFields = {
    {"llama",
     {"vocab_size",
      "hidden_size",
      "intermediate_size",
      "num_hidden_layers",
      "num_attention_heads",
      "num_key_value_heads",
      "hidden_act",
      "max_position_embeddings",
      "initializer_range",
      "rms_norm_eps",
      "use_cache",
      "pad_token_id",
      "bos_token_id",
      "eos_token_id",
      "pretraining_tp",
      "tie_word_embeddings",
      "rope_parameters",
      "attention_bias",
      "attention_dropout",
      "mlp_bias",
      "head_dim"}},
    {"mistral",
     {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
      "num_key_value_heads", "head_dim", "hidden_act", "max_position_embeddings", "initializer_range",
      "rms_norm_eps", "use_cache", "pad_token_id", "bos_token_id", "eos_token_id", "tie_word_embeddings",
      "rope_parameters", "sliding_window", "attention_dropout"}},
    {"qwen2", {"vocab_size",          "hidden_size",         "intermediate_size", "num_hidden_layers",
               "num_attention_heads", "num_key_value_heads", "hidden_act",        "max_position_embeddings",
               "initializer_range",   "rms_norm_eps",        "use_cache",         "tie_word_embeddings",
               "rope_parameters",     "use_sliding_window",  "sliding_window",    "max_window_layers",
               "layer_types",         "attention_dropout",   "pad_token_id",      "bos_token_id",
               "eos_token_id"}},
    {"qwen3",
     {"vocab_size",
      "hidden_size",
      "intermediate_size",
      "num_hidden_layers",
      "num_attention_heads",
      "num_key_value_heads",
      "head_dim",
      "hidden_act",
      "max_position_embeddings",
      "initializer_range",
      "rms_norm_eps",
      "use_cache",
      "tie_word_embeddings",
      "rope_parameters",
      "attention_bias",
      "use_sliding_window",
      "sliding_window",
      "max_window_layers",
      "layer_types",
      "attention_dropout",
      "pad_token_id",
      "bos_token_id",
      "eos_token_id"}},
    {"qwen3_moe",
     {"vocab_size",
      "hidden_size",
      "intermediate_size",
      "num_hidden_layers",
      "num_attention_heads",
      "num_key_value_heads",
      "hidden_act",
      "max_position_embeddings",
      "initializer_range",
      "rms_norm_eps",
      "use_cache",
      "tie_word_embeddings",
      "rope_parameters",
      "attention_bias",
      "use_sliding_window",
      "sliding_window",
      "attention_dropout",
      "decoder_sparse_step",
      "moe_intermediate_size",
      "num_experts_per_tok",
      "num_experts",
      "norm_topk_prob",
      "output_router_logits",
      "router_aux_loss_coef",
      "mlp_only_layers",
      "pad_token_id",
      "bos_token_id",
      "eos_token_id"}},
    {"",
     {"transformers_version", "architectures", "output_hidden_states", "return_dict", "dtype",
      "chunk_size_feed_forward", "is_encoder_decoder", "id2label", "label2id", "problem_type"}},
};

bool Covers(std::string_view field, std::string_view type) {
  return std::ranges::any_of(ConfigFields(), [&](const KeyRow& row) {
    return row.key == field && (row.architectures.empty() || row.architectures.contains(type));
  });
}

TEST(KeyTables, HaveEveryFieldThatTransformersDefines) {
  for (const auto& [type, fields] : kClassFields) {
    for (const auto& field : fields) EXPECT_TRUE(Covers(field, type)) << type << ": " << field;
  }
}

std::string ConfigDefect(std::string_view extra, std::string_view type = "qwen3_moe") {
  const auto json = JsonObject::Parse(fmt::format(R"({{"model_type": "{}"{}}})", type, extra), "c.json");
  const auto config = ConfigFromJson(*json);
  return config.has_value() ? "it was read" : config.error().message;
}

TEST(KeyTables, AFieldWithOneSupportedValueIsRefusedByName) {
  EXPECT_EQ(ConfigDefect(""), "it was read") << "transformers' defaults";
  for (const KeyRow& row : ConfigFields()) {
    if (row.use != KeyRow::Use::kOnly) continue;
    EXPECT_THAT(ConfigDefect(fmt::format(R"(, "{}": 77)", row.key)),
                HasSubstr(fmt::format("\"{}\" is 77", row.key)));
    EXPECT_EQ(ConfigDefect(fmt::format(R"(, "{}": null)", row.key)), "it was read") << row.key;
  }
  EXPECT_EQ(ConfigDefect(R"(, "hidden_act": "swish", "decoder_sparse_step": 1, "mlp_only_layers": [])"),
            "it was read");
  EXPECT_EQ(ConfigDefect(R"(, "unheard_of": 77)"), "it was read") << "transformers ignores it";
}

TEST(KeyTables, WhatLibllamaDoesNotKnowIsRefusedOnEveryRunner) {
  const auto& names = LibllamaKeys();
  for (const KeyRow& row : GgufKeys()) {
    EXPECT_TRUE(std::ranges::find(names, row.key) != names.end()) << row.key << " is no key of libllama";
  }
}

}  // namespace
}  // namespace penstock
