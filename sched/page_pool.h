// PagePool: hands out one model's KV page ids; knows nothing of KV bytes.
//
// A page is fresh (never given out), recycled (given back), in use (references > 0) or cached (no
// reference, but the prefix cache remembers what it holds). Cached pages are the last to be given out,
// least recently used first: until memory is short, nothing that was computed is thrown away.
//
// Threads:   one.
// Invariant: free + cached + in_use == total (CheckIntegrity()).
// Source:    Kwon et al., PagedAttention, SOSP 2023.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/tokens.h"

namespace penstock {

class PagePool {
 public:
  struct Taken {
    PageId page = -1;
    bool evicted = false;  // was cached: the prefix cache must forget it, and it must be zeroed
  };

  explicit PagePool(int32_t total);

  // A page with one reference. REQUIRES: available() > 0.
  Taken Take();
  // One more owner of a page that is in use or cached.
  void Retain(PageId page);
  // One owner less; without owners the page is cached if MarkCached was called, free otherwise. True: it is
  // free now, and must be zeroed before another owner writes. `now`: see OldestCached.
  bool Release(PageId page, uint64_t now = 0);
  // When the least recently used cached page was released; UINT64_MAX: none is cached.
  uint64_t OldestCached() const { return oldest_ < 0 ? UINT64_MAX : pages_[Index(oldest_)].released; }
  // Frees that page, which the prefix cache must forget and which must be zeroed. REQUIRES: cached() > 0.
  PageId Evict();
  // The prefix cache remembers this page's content. REQUIRES: in use.
  void MarkCached(PageId page);

  int32_t references(PageId page) const { return pages_[Index(page)].references; }
  int32_t total() const { return static_cast<int32_t>(pages_.size()); }
  int32_t in_use() const { return total() - free() - cached_; }
  int32_t cached() const { return cached_; }
  int32_t free() const { return total() - fresh_ + static_cast<int32_t>(recycled_.size()); }
  // What Take can give: free pages and cached ones that nobody uses.
  int32_t available() const { return free() + cached_; }

  // Walks everything; aborts on a lost or doubly owned page. For tests and simulations.
  void CheckIntegrity() const;

 private:
  struct Page {
    int32_t references = 0;
    bool remembered = false;  // by the prefix cache
    uint64_t released = 0;
    PageId older = -1, newer = -1;  // the cached list, while cached
  };
  static size_t Index(PageId page) { return static_cast<size_t>(page); }
  void Link(PageId page);
  void Unlink(PageId page);

  std::vector<Page> pages_;
  std::vector<PageId> recycled_;
  int32_t fresh_ = 0;  // pages from here on were never given out: their memory is not even resident
  int32_t cached_ = 0;
  PageId oldest_ = -1, newest_ = -1;
};

}  // namespace penstock
