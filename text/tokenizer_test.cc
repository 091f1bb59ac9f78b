#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "text/text.h"

namespace penstock {
namespace {

TEST(Tokenizer, UnknownPreTokenizerIsNamed) {
  Vocabulary vocabulary{.model = "gpt2", .pre = "martian", .tokens = {"a"}};
  auto tokenizer = TokenizerFromVocabulary(vocabulary);
  ASSERT_FALSE(tokenizer.has_value());
  EXPECT_EQ(tokenizer.error().code, Code::kUnsupported);
  EXPECT_THAT(tokenizer.error().message, testing::HasSubstr("\"martian\""));
}

}  // namespace
}  // namespace penstock
