#include "fleet/placement/affinity.h"

#include <gtest/gtest.h>

#include <map>
#include <numeric>

namespace penstock {
namespace {

std::vector<int32_t> Prompt(size_t tokens, int32_t last = 0) {
  std::vector<int32_t> prompt(tokens);
  std::iota(prompt.begin(), prompt.end(), 0);
  if (last != 0) prompt.back() = last;
  return prompt;
}

std::map<uint32_t, size_t> Held(const Affinity& affinity, const PrefixChain& chain) {
  std::map<uint32_t, size_t> held;
  affinity.Each(chain, [&](uint32_t engine, size_t tokens) { held.try_emplace(engine, tokens); });
  return held;
}

TEST(Affinity, KnowsTheLongestBeginningThatEachEngineComputed) {
  Affinity affinity;
  affinity.Note(1, Affinity::Chain("m", "team", Prompt(300)));
  affinity.Note(2, Affinity::Chain("m", "team", Prompt(130)));
  const auto held = Held(affinity, Affinity::Chain("m", "team", Prompt(1000)));
  EXPECT_EQ(held, (std::map<uint32_t, size_t>{{1, 256}, {2, 128}}));
}

TEST(Affinity, AnotherBeginningModelOrScopeIsAnother) {
  Affinity affinity;
  affinity.Note(1, Affinity::Chain("m", "team", Prompt(128)));
  EXPECT_TRUE(Held(affinity, Affinity::Chain("m", "other", Prompt(128))).empty());
  EXPECT_TRUE(Held(affinity, Affinity::Chain("n", "team", Prompt(128))).empty());
  EXPECT_TRUE(Held(affinity, Affinity::Chain("m", "team", Prompt(64, 9))).empty());
  EXPECT_TRUE(Affinity::Chain("m", "", Prompt(128)).empty()) << "nothing is shared without a scope";
  EXPECT_TRUE(Affinity::Chain("m", "team", Prompt(63)).empty());
}

TEST(Affinity, MemoryIsBoundedAndTheLatestStay) {
  Affinity affinity(100);
  for (int32_t i = 1; i <= 1000; ++i) affinity.Note(1, Affinity::Chain("m", "team", Prompt(64, i)));
  EXPECT_EQ(Held(affinity, Affinity::Chain("m", "team", Prompt(64, 1000))).size(), 1u);
  EXPECT_TRUE(Held(affinity, Affinity::Chain("m", "team", Prompt(64, 1))).empty());
  for (uint32_t engine = 1; engine <= 6; ++engine)
    affinity.Note(engine, Affinity::Chain("m", "t", Prompt(64)));
  const auto held = Held(affinity, Affinity::Chain("m", "t", Prompt(64)));
  EXPECT_EQ(held.size(), 4u) << "of many engines the latest";
  EXPECT_TRUE(held.contains(6));
}

}  // namespace
}  // namespace penstock
