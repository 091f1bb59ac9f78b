#include "sched/prefix_cache.h"

#include <gtest/gtest.h>

#include <numeric>

namespace penstock {
namespace {

std::vector<Token> Tokens(int count, Token first = 0) {
  std::vector<Token> tokens(static_cast<size_t>(count));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

// Remembers the full pages of `tokens` as pages first, first + 1, …
void Remember(PrefixCache& cache, std::string_view scope, const std::vector<Token>& tokens, PageId first) {
  PrefixCache::Serial serial = cache.Root(scope);
  for (size_t at = 0; at + kPageTokens <= tokens.size(); at += kPageTokens) {
    serial = cache.Insert(serial, std::span(tokens).subspan(at, kPageTokens), first++).serial;
  }
}

std::vector<PageId> Find(PrefixCache& cache, std::string_view scope, const std::vector<Token>& tokens) {
  return cache.Find(cache.Root(scope), tokens).pages;
}

TEST(PrefixCache, FindsTheLongestBeginning) {
  PrefixCache cache;
  Remember(cache, "a", Tokens(48), 10);
  EXPECT_EQ(Find(cache, "a", Tokens(100)), (std::vector<PageId>{10, 11, 12}));
  auto other = Tokens(100);
  other[20] = 999;
  EXPECT_EQ(Find(cache, "a", other), (std::vector<PageId>{10}));
}

TEST(PrefixCache, SomethingIsAlwaysLeftToCompute) {
  PrefixCache cache;
  Remember(cache, "a", Tokens(32), 10);
  EXPECT_EQ(Find(cache, "a", Tokens(32)).size(), 1U);
  EXPECT_EQ(Find(cache, "a", Tokens(33)).size(), 2U);
  EXPECT_EQ(Find(cache, "a", Tokens(1)).size(), 0U);
}

TEST(PrefixCache, ScopesDoNotSeeEachOther) {
  PrefixCache cache;
  Remember(cache, "a", Tokens(32), 10);
  EXPECT_TRUE(Find(cache, "b", Tokens(33)).empty());
  EXPECT_TRUE(Find(cache, "", Tokens(33)).empty());
}

TEST(PrefixCache, TheSameTokensAfterOthersAreSomethingElse) {
  PrefixCache cache;
  Remember(cache, "a", Tokens(32), 10);
  EXPECT_TRUE(Find(cache, "a", Tokens(40, 16)).empty());  // the second page's tokens are not a beginning
}

TEST(PrefixCache, AForgottenParentHidesItsChildrenEvenWhenItsPageIsUsedAgain) {
  PrefixCache cache;
  Remember(cache, "a", Tokens(32), 10);
  cache.Forget(10);
  EXPECT_TRUE(Find(cache, "a", Tokens(33)).empty());
  // Page 10 now holds other tokens: its old child must not be found below them.
  const auto other = Tokens(16, 500);
  cache.Insert(cache.Root("a"), other, 10);
  auto mixed = other;
  const auto tail = Tokens(17, 16);
  mixed.insert(mixed.end(), tail.begin(), tail.end());
  EXPECT_EQ(Find(cache, "a", mixed), (std::vector<PageId>{10}));
}

TEST(PrefixCache, TheFirstToComputeAPageIsRemembered) {
  PrefixCache cache;
  const auto tokens = Tokens(16);
  const auto first = cache.Insert(cache.Root("a"), tokens, 1),
             second = cache.Insert(cache.Root("a"), tokens, 2);
  EXPECT_TRUE(first.remembered);
  EXPECT_FALSE(second.remembered);
  EXPECT_EQ(first.serial, second.serial);
}

}  // namespace
}  // namespace penstock
