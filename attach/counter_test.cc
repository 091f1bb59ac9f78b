#include "attach/counter.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

// A token a word and its space before it.
class Words final : public Tokenizer {
 public:
  Result<std::vector<Token>> Encode(std::string_view text, bool) const override {
    std::vector<Token> tokens;
    for (size_t i = 0; i < text.size(); ++i) {
      if (i == 0 || text[i] == ' ') tokens.push_back(1);
    }
    return tokens;
  }
  Result<std::vector<Token>> EncodeControls(std::string_view text, std::span<const Control>) const override {
    return Encode(text, true);
  }
  std::string_view Bytes(Token) const override { return {}; }
  std::string_view Piece(Token) const override { return {}; }
  int32_t size() const override { return 2; }
  bool IsControl(Token) const override { return false; }
  std::string_view backend() const override { return "words"; }
};

TEST(TextCounter, CountsAsTheWholeTextWouldHoweverItComes) {
  std::string text;
  for (int i = 0; i < 2000; ++i) text += " word" + std::to_string(i);
  const auto words = std::make_shared<Words>();
  for (const size_t piece : {1U, 3U, 50U, 700U}) {
    TextCounter counter(words);
    uint32_t total = 0;
    for (size_t at = 0; at < text.size(); at += piece) total += counter.Push(text.substr(at, piece));
    EXPECT_EQ(total, 2000U) << piece;
  }
}

TEST(TextCounter, TextWithoutSpacesIsSettledToo) {
  TextCounter counter(std::make_shared<Words>());
  uint32_t total = 0;
  for (int i = 0; i < 1000; ++i) total += counter.Push(std::string(100, 'x'));
  EXPECT_GE(total, 1U);
  EXPECT_LE(total, 100U);
}

}  // namespace
}  // namespace penstock
