#include "engine/pieces.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "model/files/assets.h"

namespace penstock {
namespace {

TEST(Pieces, ByteLevelPiecesAreBytes) {
  Vocabulary vocabulary;
  vocabulary.model = "gpt2";
  vocabulary.tokens = {"a",          "\u0120the", "\u010A",  "\u00C3\u0124",
                       "<|im_end|>", "\u6F22",    "<think>", "\u00AD"};
  vocabulary.types = {1, 1, 1, 1, Vocabulary::kControl, 1, Vocabulary::kUserDefined, 1};
  const Pieces pieces = Pieces::Of(vocabulary);
  EXPECT_EQ(pieces.Bytes(0), "a");
  EXPECT_EQ(pieces.Bytes(1), " the");
  EXPECT_EQ(pieces.Bytes(2), "\n");
  EXPECT_EQ(pieces.Bytes(3), "\xC3\x82");  // half of a character and another's lead
  EXPECT_EQ(pieces.Bytes(4), "");
  EXPECT_EQ(pieces.Bytes(5), "\u6F22");  // no byte's character: itself
  EXPECT_EQ(pieces.Bytes(6), "<think>");
  EXPECT_EQ(pieces.Bytes(8), "");
  EXPECT_EQ(pieces.Bytes(-1), "");
}

TEST(Pieces, SentencePiecesHaveSpacesAndBytes) {
  Vocabulary vocabulary;
  vocabulary.model = "llama";
  vocabulary.tokens = {"<unk>", "<0x0A>", "\u2581the", "\u2581\u2581", "<0xZZ>", "<0xE2>"};
  vocabulary.types = {Vocabulary::kUnknown, Vocabulary::kByte, 1, 1, 1, Vocabulary::kByte};
  const Pieces pieces = Pieces::Of(vocabulary);
  EXPECT_EQ(pieces.Bytes(0), "");
  EXPECT_EQ(pieces.Bytes(1), "\n");
  EXPECT_EQ(pieces.Bytes(2), " the");
  EXPECT_EQ(pieces.Bytes(3), "  ");
  EXPECT_EQ(pieces.Bytes(4), "<0xZZ>");
  EXPECT_EQ(pieces.Bytes(5), "\xE2");
}

// The whole vocabulary of a real model, where there is one.
TEST(Pieces, AreWhatTheTokenizerSays) {
  const char* folder = std::getenv("PENSTOCK_BENCH_MODELS");
  const std::string models =
      folder != nullptr ? folder : std::string(std::getenv("HOME")) + "/.cache/penstock-dev";
  const std::string path = models + "/smollm2-135m.gguf";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there";
  const auto assets = ReadTextAssets(path);
  ASSERT_TRUE(assets) << assets.error().message;
  const auto tokenizer = TokenizerFromVocabulary(*assets->vocabulary);
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  const Pieces pieces = Pieces::Of(*assets->vocabulary);
  for (Token token = 0; token < (*tokenizer)->size(); ++token) {
    ASSERT_EQ(pieces.Bytes(token), (*tokenizer)->Bytes(token)) << token;
  }
}

}  // namespace
}  // namespace penstock
