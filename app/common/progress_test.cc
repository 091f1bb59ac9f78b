#include "app/common/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace penstock {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr ProgressState kHalf{.done = 250'000'000, .total = 500'000'000, .rate = 10e6};

TEST(Progress, ATerminalGetsABarTheRateAndTheTimeLeft) {
  const std::string line = ProgressLine("qwen", kHalf, 80);
  EXPECT_EQ(line, "  qwen  [##########...........]   50%  250 MB of 500 MB  10.0 MB/s  25.0 s left");
}

TEST(Progress, WithoutATerminalTheLineIsPlain) {
  EXPECT_EQ(ProgressLine("qwen", kHalf, 0), "  qwen   50%  250 MB of 500 MB  10.0 MB/s  25.0 s left");
}

TEST(Progress, NoLineIsWiderThanItsTerminal) {
  for (int columns = 2; columns < 200; ++columns) {
    EXPECT_LT(ProgressLine("a-model-with-quite-a-long-name", kHalf, columns).size(),
              static_cast<size_t>(columns));
  }
  EXPECT_THAT(ProgressLine("qwen", kHalf, 60), Not(HasSubstr("[")));
}

TEST(Progress, WhatIsNotKnownIsNotShown) {
  EXPECT_EQ(ProgressLine("qwen", {.done = 1000, .total = 0, .rate = 0}, 80), "  qwen  1.0 kB");
  EXPECT_THAT(ProgressLine("qwen", {.done = 10, .total = 100, .rate = 0}, 80), Not(HasSubstr("left")));
  EXPECT_THAT(ProgressLine("qwen", {.done = 100, .total = 100, .rate = 5}, 80), Not(HasSubstr("left")));
}

}  // namespace
}  // namespace penstock
