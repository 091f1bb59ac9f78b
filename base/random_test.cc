#include "base/random.h"

#include <gtest/gtest.h>

#include <set>

namespace penstock {
namespace {

TEST(Random, TheSameSeedAndCounterDrawTheSame) {
  EXPECT_EQ(Draw(7, 3), Draw(7, 3));
  EXPECT_NE(Draw(7, 3), Draw(7, 4));
  EXPECT_NE(Draw(7, 3), Draw(8, 3));
}

TEST(Random, NeighbouringCountersAreUnrelated) {
  // Each output bit flips for about half of neighbouring counters: 10,000 draws, ±5 sigma.
  for (int bit = 0; bit < 64; ++bit) {
    int flips = 0;
    for (uint64_t i = 0; i < 10'000; ++i) flips += (Draw(1, i) ^ Draw(1, i + 1)) >> bit & 1;
    EXPECT_NEAR(flips, 5'000, 250) << "bit " << bit;
  }
}

TEST(Random, UniformStaysBelowOne) {
  EXPECT_EQ(Uniform(0), 0.0);
  EXPECT_LT(Uniform(~uint64_t{0}), 1.0);
}

TEST(Random, MixIsABijectionOnASample) {
  std::set<uint64_t> seen;
  for (uint64_t i = 0; i < 100'000; ++i) seen.insert(Mix(i));
  EXPECT_EQ(seen.size(), 100'000U);
}

}  // namespace
}  // namespace penstock
