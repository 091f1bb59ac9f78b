#include "model/files/assets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "model/test_gguf.h"

namespace penstock {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Assets : public ::testing::Test {
 protected:
  Assets() { std::filesystem::create_directories(folder_); }
  ~Assets() override { std::filesystem::remove_all(folder_); }
  void Write(const std::string& name, std::string_view text) { std::ofstream(folder_ + "/" + name) << text; }

  const std::string folder_ = ::testing::TempDir() + "/penstock_assets_" + std::to_string(::getpid());
};

TEST_F(Assets, OfAGgufComeFromItsMetadata) {
  const std::string path = folder_ + "/m.gguf";
  auto writer = testing::TinyModel(kernels::Format::kQ8_0);
  writer.String("general.license", "apache-2.0").String("tokenizer.chat_template", "{{ messages }}");
  testing::WriteBytes(path, writer.Build());
  const auto a = ReadTextAssets(path);
  ASSERT_TRUE(a.has_value()) << a.error().message;
  EXPECT_EQ(a->name, "tiny");
  EXPECT_EQ(a->architecture, "llama");
  EXPECT_EQ(a->quantisation, "Q8_0");
  EXPECT_EQ(a->licence, "apache-2.0");
  EXPECT_EQ(a->chat_template, "{{ messages }}");
  EXPECT_EQ(a->context, 64);
  EXPECT_EQ(a->vocabulary_size, 48);
  EXPECT_EQ(a->vocabulary->tokens[3], "t3");
  EXPECT_EQ(a->eos_token, "t47");
  EXPECT_THAT(a->end_tokens, ElementsAre(47));
  EXPECT_EQ(a->file_bytes, static_cast<int64_t>(std::filesystem::file_size(path)));
}

TEST_F(Assets, EveryTokenThatEndsATurnOrTheTextEndsGeneration) {
  const auto a = ReadTextAssets(std::string(PENSTOCK_SOURCE_DIR) + "/model/testdata/logits/qwen3.gguf");
  ASSERT_TRUE(a.has_value()) << a.error().message;
  EXPECT_EQ(a->eos_token, "<|im_end|>");
  EXPECT_THAT(a->end_tokens, ElementsAre(95, 94));  // <|im_end|>, then <|endoftext|>
}

TEST_F(Assets, OfAFolderComeFromItsJsonFiles) {
  const std::string golden = std::string(PENSTOCK_SOURCE_DIR) + "/model/testdata/logits/qwen2/";
  std::filesystem::copy(golden + "config.json", folder_ + "/config.json");
  std::filesystem::copy(golden + "model.safetensors", folder_ + "/model.safetensors");
  Write("tokenizer.json",
        R"({"added_tokens": [{"id": 94, "content": "<|endoftext|>"}, {"id": 95, "content": "<|im_end|>"}]})");
  Write("tokenizer_config.json", R"({"eos_token": {"content": "<|im_end|>"}, "bos_token": null,
      "chat_template": [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"}]})");
  Write("generation_config.json", R"({"eos_token_id": [95, 7]})");
  const auto a = ReadTextAssets(folder_);
  ASSERT_TRUE(a.has_value()) << a.error().message;
  EXPECT_EQ(a->architecture, "qwen2");
  EXPECT_EQ(a->quantisation, "BF16");
  EXPECT_EQ(a->chat_template, "yes");
  EXPECT_EQ(a->eos, 95);
  EXPECT_EQ(a->bos, -1);
  EXPECT_THAT(a->end_tokens, ElementsAre(95, 7, 94));
  EXPECT_FALSE(a->vocabulary.has_value());
  Write("chat_template.jinja", "own file");
  EXPECT_EQ(ReadTextAssets(folder_)->chat_template, "own file");
}

// The qwen2 folder of the goldens, with another tokenizer.json and tokenizer_config.json.
class FolderAssets : public Assets {
 protected:
  FolderAssets() {
    const std::string golden = std::string(PENSTOCK_SOURCE_DIR) + "/model/testdata/logits/qwen2/";
    std::filesystem::copy(golden + "config.json", folder_ + "/config.json");
    std::filesystem::copy(golden + "model.safetensors", folder_ + "/model.safetensors");
  }
  Result<TextAssets> With(std::string_view post, std::string_view config = "{}") {
    Write("tokenizer.json",
          fmt::format(R"({{"added_tokens": [{{"id": 94, "content": "</s>"}}, {{"id": 95, "content": "<s>"}}],
                          "model": {{"vocab": {{"word": 3}}}}, "post_processor": {}}})",
                      post));
    Write("tokenizer_config.json", config);
    return ReadTextAssets(folder_);
  }
};

constexpr auto kBosAndEos = R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}},
    {"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "</s>"}}],
    "special_tokens": {"<s>": {"ids": [95]}, "</s>": {"ids": [94]}}})";

TEST_F(FolderAssets, BosAndEosComeFromThePostProcessor) {
  const auto a = With(kBosAndEos);
  ASSERT_TRUE(a.has_value()) << a.error().message;
  EXPECT_THAT(a->before, ElementsAre(95));
  EXPECT_THAT(a->after, ElementsAre(94));
  const auto pair = With(R"({"type": "BertProcessing", "sep": ["</s>", 94], "cls": ["<s>", 95]})");
  EXPECT_THAT(pair->before, ElementsAre(95));
  EXPECT_THAT(pair->after, ElementsAre(94));
  const auto sequence =
      With(fmt::format(R"({{"type": "Sequence", "processors": [{{"type": "ByteLevel"}}, {}]}})", kBosAndEos));
  EXPECT_THAT(sequence->before, ElementsAre(95));
  EXPECT_THAT(With("null")->before, ::testing::IsEmpty());
  EXPECT_THAT(With(R"({"type": "ByteLevel"})")->before, ::testing::IsEmpty());
}

// transformers builds the post-processor anew if tokenizer_config.json says anything about it.
TEST_F(FolderAssets, TheConfigurationOfTheTokenizerWins) {
  const auto a = With(kBosAndEos, R"({"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": true})");
  ASSERT_TRUE(a.has_value()) << a.error().message;
  EXPECT_THAT(a->before, ElementsAre(95));
  EXPECT_THAT(a->after, ::testing::IsEmpty());
  EXPECT_THAT(With(kBosAndEos, R"({"bos_token": "<s>", "add_bos_token": false})")->before,
              ::testing::IsEmpty());
  EXPECT_THAT(With("null", R"({"bos_token": "word", "add_bos_token": true})")->before, ElementsAre(3));
}

TEST_F(FolderAssets, AnUnknownPostProcessorIsNamed) {
  EXPECT_THAT(With(R"({"type": "Rotate"})").error().message, HasSubstr("of type \"Rotate\""));
  EXPECT_THAT(With(R"({"type": "TemplateProcessing", "single": [], "special_tokens": {}})").error().message,
              HasSubstr("does not contain the text once"));
}

TEST_F(FolderAssets, ImpossibleIdsAreRefused) {
  Write("generation_config.json", R"({"eos_token_id": 96})");
  EXPECT_THAT(With("null").error().message, HasSubstr("its token 96 is not in the vocabulary of 96"));
}

TEST_F(Assets, OfAMissingFileSayWhichFile) {
  EXPECT_THAT(ReadTextAssets(folder_ + "/none.gguf").error().message, HasSubstr("none.gguf: No such file"));
  EXPECT_EQ(ReadTextAssets(folder_ + "/none.gguf").error().code, Code::kNotFound);
  EXPECT_THAT(ReadTextAssets(folder_).error().message, HasSubstr("config.json"));
}

}  // namespace
}  // namespace penstock
