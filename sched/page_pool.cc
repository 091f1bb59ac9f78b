#include "sched/page_pool.h"

#include "base/check.h"

namespace penstock {

PagePool::PagePool(int32_t total) : pages_(Index(total)) {}

PagePool::Taken PagePool::Take() {
  PENSTOCK_CHECK(available() > 0);
  Taken taken;
  if (!recycled_.empty()) {
    taken = {.page = recycled_.back()};
    recycled_.pop_back();
  } else if (fresh_ < total()) {
    taken = {.page = fresh_++};
  } else {
    taken = {.page = oldest_, .evicted = true};
    Unlink(oldest_);
    pages_[Index(taken.page)].remembered = false;
  }
  pages_[Index(taken.page)].references = 1;
  return taken;
}

void PagePool::Retain(PageId page) {
  Page& p = pages_[Index(page)];
  if (p.references == 0) {
    PENSTOCK_CHECK(p.remembered);
    Unlink(page);
  }
  ++p.references;
}

bool PagePool::Release(PageId page, uint64_t now) {
  Page& p = pages_[Index(page)];
  PENSTOCK_CHECK(p.references > 0);
  if (--p.references > 0) return false;
  if (p.remembered) {
    p.released = now;
    Link(page);
  } else {
    recycled_.push_back(page);
  }
  return !p.remembered;
}

PageId PagePool::Evict() {
  PENSTOCK_CHECK(cached_ > 0);
  const PageId page = oldest_;
  Unlink(page);
  pages_[Index(page)].remembered = false;
  recycled_.push_back(page);
  return page;
}

void PagePool::MarkCached(PageId page) {
  PENSTOCK_CHECK(pages_[Index(page)].references > 0);
  pages_[Index(page)].remembered = true;
}

void PagePool::Link(PageId page) {
  Page& p = pages_[Index(page)];
  p.older = newest_;
  p.newer = -1;
  (newest_ < 0 ? oldest_ : pages_[Index(newest_)].newer) = page;
  newest_ = page;
  ++cached_;
}

void PagePool::Unlink(PageId page) {
  Page& p = pages_[Index(page)];
  (p.older < 0 ? oldest_ : pages_[Index(p.older)].newer) = p.newer;
  (p.newer < 0 ? newest_ : pages_[Index(p.newer)].older) = p.older;
  p.older = p.newer = -1;
  --cached_;
}

void PagePool::CheckIntegrity() const {
  std::vector<char> seen(pages_.size(), 0);
  for (PageId page : recycled_) {
    PENSTOCK_CHECK(page < fresh_ && seen[Index(page)]++ == 0);
    PENSTOCK_CHECK(pages_[Index(page)].references == 0);
  }
  int32_t cached = 0, in_use = 0;
  for (PageId page = oldest_; page >= 0; page = pages_[Index(page)].newer, ++cached) {
    PENSTOCK_CHECK(seen[Index(page)]++ == 0);
    PENSTOCK_CHECK(pages_[Index(page)].references == 0 && pages_[Index(page)].remembered);
  }
  for (PageId page = 0; page < fresh_; ++page) {
    const bool owned = pages_[Index(page)].references > 0;
    PENSTOCK_CHECK(owned == (seen[Index(page)] == 0));
    in_use += owned ? 1 : 0;
  }
  PENSTOCK_CHECK(cached == cached_);
  PENSTOCK_CHECK(free() + cached + in_use == total());
}

}  // namespace penstock
