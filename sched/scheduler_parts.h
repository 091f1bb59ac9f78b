// What the scheduler's files share: a model's memory and sequences.
//
//   scheduler.cc       sequences come, are planned, and go
//   shared_memory.cc   pages: taken, given back, put aside; and how models share one budget
#pragma once

#include <map>
#include <vector>

#include "sched/scheduler.h"

namespace penstock {

// One model's memory and its sequences.
struct Scheduler::Model {
  LoadedModel info;
  PagePool pool;
  PrefixCache cache;
  ByAge running, waiting;
  // Until a step ended well that had them: what to put aside and what to forget of that, and the pages that
  // nobody needs any more.
  std::vector<SequenceOp> aside;
  int32_t aside_used = 0;       // pages' worth
  std::vector<PageId> to_zero;  // not kept any more, and not yet zeroed by a step that ended well
  Nanos served = 0;             // chip time, lifted when it returns from idling

  explicit Model(const LoadedModel& loaded) : info(loaded), pool(loaded.pages) {}
  bool busy() const { return !running.empty() || !waiting.empty(); }
  // Of an on-demand model: what its sequences hold of the shared budget, and what its cached pages add to
  // that.
  int64_t in_use_bytes() const { return info.on_demand ? info.page_bytes * pool.in_use() : 0; }
  int64_t held_bytes() const {
    return info.on_demand ? info.page_bytes * (pool.in_use() + pool.cached()) : 0;
  }
};

struct Scheduler::Owned {
  Sequence sequence;
  Model* model = nullptr;
};

// What a waiting sequence need not compute: pages to share, and perhaps one to copy the beginning of.
struct Scheduler::Start {
  std::vector<PageId> shared = {};
  PageId copy = -1;
  int32_t copied_tokens = 0;
  int32_t restored_tokens = 0;  // put aside: then nothing is shared
  PrefixCache::Serial serial = 0;
  bool from_lead = false;

  int32_t tokens() const {
    return static_cast<int32_t>(shared.size()) * kPageTokens + copied_tokens + restored_tokens;
  }
};

}  // namespace penstock
