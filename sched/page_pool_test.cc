#include "sched/page_pool.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace penstock {
namespace {

TEST(PagePool, ReleasedPagesComeFirstAndThatTheyAreFreeIsSaid) {
  PagePool pool(3);
  EXPECT_EQ(pool.Take().page, 0);
  pool.Take();
  EXPECT_TRUE(pool.Release(0));
  const PagePool::Taken again = pool.Take();
  EXPECT_EQ(again.page, 0);  // before the untouched page 2: its memory is resident already
  EXPECT_FALSE(again.evicted);
}

TEST(PagePool, CachedPagesAreTheLastResortOldestFirst) {
  PagePool pool(3);
  for (int i = 0; i < 3; ++i) pool.MarkCached(pool.Take().page);
  for (PageId page : {1, 0, 2}) pool.Release(page);
  EXPECT_EQ(pool.available(), 3);
  EXPECT_EQ(pool.free(), 0);
  pool.Retain(1);  // used again: not the oldest any more
  pool.Release(1);
  const PagePool::Taken taken = pool.Take();
  EXPECT_EQ(taken.page, 0);
  EXPECT_TRUE(taken.evicted);
  EXPECT_EQ(pool.Take().page, 2);
  EXPECT_EQ(pool.Take().page, 1);
}

TEST(PagePool, SharedPagesComeFreeWithTheirLastOwner) {
  PagePool pool(1);
  const PageId page = pool.Take().page;
  pool.Retain(page);
  EXPECT_FALSE(pool.Release(page));
  EXPECT_EQ(pool.available(), 0);
  EXPECT_TRUE(pool.Release(page));
  EXPECT_EQ(pool.available(), 1);
}

TEST(PagePool, NoPageIsLostWhateverHappens) {
  for (uint64_t seed = 0; seed < 100; ++seed) {
    Random random(seed);
    PagePool pool(20);
    std::vector<PageId> owned;
    for (int i = 0; i < 500; ++i) {
      switch (random.Below(4)) {
        case 0:
          if (pool.available() > 0) owned.push_back(pool.Take().page);
          break;
        case 1:
          if (!owned.empty()) {
            const PageId page = owned[random.Below(owned.size())];
            pool.Retain(page);
            owned.push_back(page);
          }
          break;
        case 2:
          if (!owned.empty()) pool.MarkCached(owned[random.Below(owned.size())]);
          break;
        default:
          if (!owned.empty()) {
            std::swap(owned[random.Below(owned.size())], owned.back());
            pool.Release(owned.back());
            owned.pop_back();
          }
      }
      pool.CheckIntegrity();
    }
  }
}

}  // namespace
}  // namespace penstock
