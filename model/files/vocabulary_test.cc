// The vocabulary of a GGUF. Expected values: libllama 0.5 (llama-vocab.cpp, load).
#include "model/files/vocabulary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "model/files/special_tokens.h"
#include "model/test_gguf.h"

namespace penstock {
namespace {

using testing::Bytes;
using ::testing::ElementsAre;
using testing::GgufWriter;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Change = std::function<void(GgufWriter&)>;
const Change kNothing = [](GgufWriter&) {};

struct Kind {
  std::string model = "gpt2", pre = "qwen2";
  std::vector<std::string> tokens = {"a", "b", "ab", "<|im_end|>"}, merges = {"a b"};
};

Result<GgufVocabulary> Read(const Change& change, const Kind& kind = {}) {
  GgufWriter w;
  w.String("general.architecture", "llama").String("tokenizer.ggml.model", kind.model);
  if (!kind.pre.empty()) w.String("tokenizer.ggml.pre", kind.pre);
  w.Strings("tokenizer.ggml.tokens", kind.tokens);
  if (!kind.merges.empty()) w.Strings("tokenizer.ggml.merges", kind.merges);
  change(w);
  w.Tensor("a", kernels::Format::kF32, {4}, Bytes(16));
  const Bytes bytes = w.Build();
  return ReadVocabulary(*Gguf::Parse(bytes, "m.gguf"));
}

std::string Defect(const Change& change, const Kind& kind = {}) {
  const auto read = Read(change, kind);
  return read.has_value() ? "it was read" : read.error().message;
}

TEST(Vocabulary, EndTokensTypedNormalAreControlTokensAndEnd) {
  const auto v = Read([](GgufWriter& w) { w.Ints("tokenizer.ggml.token_type", {1, 1, 1, 1}); });
  ASSERT_TRUE(v.has_value()) << v.error().message;
  EXPECT_THAT(v->ends, ElementsAre(3));
  EXPECT_THAT(v->vocabulary.types, ElementsAre(1, 1, 1, Vocabulary::kControl));
}

TEST(Vocabulary, ByteLevelBpeNeedsMerges) {
  EXPECT_THAT(Defect(kNothing, {.merges = {}}), HasSubstr("\"tokenizer.ggml.merges\" is missing or empty"));
  EXPECT_EQ(Defect(kNothing, {.model = "llama", .pre = "", .merges = {}}), "it was read");
  EXPECT_EQ(Defect(kNothing, {.pre = "kimi-k2", .merges = {}}), "it was read");
}

TEST(Vocabulary, BosIsAddedWhereTheFileDoesNotSay) {
  const auto adds = [](const Kind& kind, const Change& change = kNothing) {
    return Read(change, kind)->vocabulary.add_bos;
  };
  const auto say = [](bool add) {
    return [add](GgufWriter& w) {
      w.Key("tokenizer.ggml.add_bos_token", GgufValue::Type::kBool, static_cast<uint8_t>(add));
    };
  };
  EXPECT_TRUE(adds({.pre = "llama-bpe"}));
  EXPECT_TRUE(adds({.pre = "tekken"}));
  EXPECT_TRUE(adds({.model = "llama", .pre = ""}));
  EXPECT_FALSE(adds({.pre = "qwen2"}));
  EXPECT_FALSE(adds({.pre = ""}));
  EXPECT_FALSE(adds({.pre = "llama-bpe"}, say(false)));
  EXPECT_TRUE(adds({.pre = "qwen2"}, say(true)));
}

TEST(Vocabulary, SentencePieceHasDefaultIds) {
  const auto v = Read(kNothing, {.model = "llama", .pre = "", .merges = {}})->vocabulary;
  EXPECT_EQ(v.bos, 1);
  EXPECT_EQ(v.eos, 2);
  EXPECT_EQ(v.unknown, 0);
  const auto bpe = Read(kNothing)->vocabulary;
  EXPECT_EQ(bpe.bos, -1);
  EXPECT_EQ(bpe.eos, -1);
}

TEST(Vocabulary, ImpossibleIdsAreRefusedByName) {
  for (const auto* key :
       {"bos_token_id", "eos_token_id", "eot_token_id", "eom_token_id", "unknown_token_id"}) {
    const std::string name = fmt::format("tokenizer.ggml.{}", key);
    EXPECT_THAT(Defect([&](GgufWriter& w) { w.U32(name, 4); }), HasSubstr(fmt::format("\"{}\" is 4", name)));
    EXPECT_EQ(Defect([&](GgufWriter& w) { w.U32(name, UINT32_MAX); }), "it was read") << "-1: none";
  }
  EXPECT_THAT(Defect([](GgufWriter& w) { w.U32("llama.vocab_size", 5); }),
              HasSubstr("\"llama.vocab_size\" is 5"));
  EXPECT_THAT(Defect(kNothing, {.tokens = {"a", "b", "ab", "a"}}), HasSubstr("token 3"));
}

TEST(Vocabulary, TheEndOfThePromptIsAddedWhereTheFileSaysSo) {
  const auto v = Read([](GgufWriter& w) {
    w.U32("tokenizer.ggml.eos_token_id", 3)
        .Key("tokenizer.ggml.add_eos_token", GgufValue::Type::kBool, uint8_t{1});
  });
  EXPECT_TRUE(v->add_eos);
  EXPECT_FALSE(Read(kNothing)->add_eos);
}

std::vector<std::pair<Token, std::string_view>> Numbered(const std::vector<std::string_view>& texts) {
  std::vector<std::pair<Token, std::string_view>> tokens;
  for (const auto text : texts) tokens.emplace_back(static_cast<Token>(tokens.size()), text);
  return tokens;
}

TEST(SpecialTokens, AMessageOfGptOssDoesNotEndTheAnswer) {
  const auto phi = SpecialTokensOf(Numbered({"<|end|>", "<|endoftext|>", "<|user|>"}));
  EXPECT_THAT(phi.ends, ElementsAre(0, 1));
  const auto harmony =
      SpecialTokensOf(Numbered({"<|end|>", "<|return|>", "<|call|>", "<|channel|>", "<|endoftext|>"}));
  EXPECT_THAT(harmony.ends, ElementsAre(1, 2, 4));
  EXPECT_THAT(harmony.shown, ElementsAre(3, 0));
  EXPECT_THAT(harmony.control, ElementsAre(1, 2, 4));
  EXPECT_THAT(SpecialTokensOf(Numbered({"<|end|>", "<|flush|>", "<|calls|>"})).ends, ElementsAre(1, 2));
}

TEST(SpecialTokens, Gemma4WritesTheOldEndAsText) {
  const auto gemma = SpecialTokensOf(Numbered({"</s>", "<turn|>", "<|tool_response>"}));
  EXPECT_THAT(gemma.ends, ElementsAre(1, 2));
  EXPECT_THAT(gemma.control, ElementsAre(1, 2));
  EXPECT_THAT(SpecialTokensOf(Numbered({"</s>"})).ends, ElementsAre(0));
}

TEST(SpecialTokens, PartsOfAPromptForCodeAreControlTokensThatDoNotEnd) {
  const auto code = SpecialTokensOf(Numbered({"<|fim_prefix|>", "<|fim_pad|>", "<|file_sep|>", "word"}));
  EXPECT_THAT(code.control, ElementsAre(0, 1, 2));
  EXPECT_THAT(code.ends, ElementsAre(1, 2));
  EXPECT_THAT(code.shown, IsEmpty());
}

}  // namespace
}  // namespace penstock
