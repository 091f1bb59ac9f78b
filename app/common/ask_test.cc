#include "app/common/ask.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

TEST(ShellWord, QuotesOnlyWhatAShellWouldSplitOrExpand) {
  EXPECT_EQ(ShellWord("smollm2-135m:q4"), "smollm2-135m:q4");
  EXPECT_EQ(ShellWord("two words"), "'two words'");
  EXPECT_EQ(ShellWord("it's"), "'it'\\''s'");
  EXPECT_EQ(ShellWord("$HOME"), "'$HOME'");
  EXPECT_EQ(ShellWord(""), "''");
  EXPECT_EQ(ShellWord("équipe"), "'équipe'");
}

}  // namespace
}  // namespace penstock
