#include "app/memory_budget.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

TEST(MemoryBudget, IsPlainlyLessThanWhatCouldNotBeHad) {
  EXPECT_EQ(BudgetAfter({.had = 1000, .peak = 1000, .needed = 0}), 850U);
  EXPECT_EQ(BudgetAfter({.had = 1000, .peak = 600, .needed = 0}), 510U);   // it was killed at 600 already
  EXPECT_EQ(BudgetAfter({.had = 1000, .peak = 1400, .needed = 0}), 850U);  // it held more than its budget
}

TEST(MemoryBudget, IsNeverLessThanTheWeightsNeed) {
  EXPECT_EQ(BudgetAfter({.had = 1000, .peak = 300, .needed = 400}), 400U);
  EXPECT_EQ(BudgetAfter({.had = 350, .peak = 300, .needed = 400}), 350U);  // nor ever more than before
}

TEST(MemoryBudget, IsLearntFromWhatWasHeldWhereNoBudgetWasKnown) {
  EXPECT_EQ(BudgetAfter({.had = 0, .peak = 1000, .needed = 0}), 850U);
  EXPECT_EQ(BudgetAfter({.had = 0, .peak = 0, .needed = 400}), 0U);
}

TEST(MemoryBudget, FallsToTheWeightsAndStaysThere) {
  uint64_t budget = 100'000;
  for (int death = 0; death < 50; ++death) budget = BudgetAfter({.had = budget, .peak = 0, .needed = 4000});
  EXPECT_EQ(budget, 4000U);
}

}  // namespace
}  // namespace penstock
