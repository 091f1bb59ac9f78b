#include "app/launch/memory_budget.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

TEST(MemoryBudget, IsClearlyLessThanWhatWasTooMuch) {
  EXPECT_EQ(BudgetAfter({.had = 1000, .peak = 1000, .needed = 0, .free = 0}), 850U);
  EXPECT_EQ(BudgetAfter({.had = 1000, .peak = 600, .needed = 0, .free = 0}),
            510U);  // it was already killed at 600
  EXPECT_EQ(BudgetAfter({.had = 1000, .peak = 1400, .needed = 0, .free = 0}),
            850U);  // it used more than its budget
}

TEST(MemoryBudget, IsNeverLessThanTheWeightsNeed) {
  EXPECT_EQ(BudgetAfter({.had = 1000, .peak = 300, .needed = 400, .free = 0}), 400U);
  EXPECT_EQ(BudgetAfter({.had = 350, .peak = 300, .needed = 400, .free = 0}),
            350U);  // and never more than before
}

TEST(MemoryBudget, IsNoMoreThanWhatIsFreeNow) {
  EXPECT_EQ(BudgetAfter({.had = 1000, .peak = 900, .needed = 0, .free = 500}), 500U);
  EXPECT_EQ(BudgetAfter({.had = 1000, .peak = 900, .needed = 600, .free = 500}), 600U);
}

TEST(MemoryBudget, FollowsFromWhatWasUsedIfNoBudgetWasKnown) {
  EXPECT_EQ(BudgetAfter({.had = 0, .peak = 1000, .needed = 0, .free = 0}), 850U);
  EXPECT_EQ(BudgetAfter({.had = 0, .peak = 0, .needed = 400, .free = 0}), 0U);
}

TEST(MemoryBudget, FallsToTheWeightsAndStaysThere) {
  uint64_t budget = 100'000;
  for (int death = 0; death < 50; ++death)
    budget = BudgetAfter({.had = budget, .peak = 0, .needed = 4000, .free = 0});
  EXPECT_EQ(budget, 4000U);
}

}  // namespace
}  // namespace penstock
