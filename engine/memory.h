// How an engine's memory is divided between weights and KV: the one owner of that decision. What it decides
// in bytes, a runner turns into pages (runner/kv_size.h), and the scheduler gives out
// (sched/shared_memory.cc).
//
// Weights are resident as long as their model is loaded. The KV pages of on-demand models (the native
// runner's) share what the weights of all leave: a page takes memory while somebody needs it. Other models
// (libllama's) take all their pages at load.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"

namespace penstock {

// For weights and KV together: what the chip has free, less a reserve for everything else. 0: its memory is
// this machine's.
uint64_t DefaultEngineMemory(int64_t chip_memory);
// The same rule for a machine with so much available.
int64_t EngineMemoryOf(int64_t available);

// The least KV that a model is loaded with.
constexpr int64_t kLeastKvBytes = int64_t{16} << 20;

// Left to the system and to growth of buffers when an engine is given its memory.
constexpr int64_t kMemoryHeadroom = int64_t{256} << 20;

// What a model takes of its engine's memory, loaded or being loaded. Bytes.
struct KvUse {
  int64_t weights = 0;
  int64_t fixed = 0;    // KV taken at load
  int64_t most = 0;     // of an on-demand model: the most that its pages may take of the shared budget
  int64_t longest = 0;  // of an on-demand model: its longest sequence, which the budget always has room for
};

struct KvRequest {
  std::string path;       // of the model: its files' size stands for its weights
  int64_t requested = 0;  // bytes; 0: a fair default, half of what the weights leave, at most 2 GiB
  int64_t memory = 0;     // the engine's, for everything
  bool on_demand = false;
};
struct KvPlan {
  KvUse use;         // until the model is loaded and measured
  int64_t most = 0;  // LoadOptions.kv_bytes
};
// For a model that is to be loaded beside `others`. "fake:..." has no weights, and gets what was requested.
// Errors: kEngineMemory, with the sizes, if weights and KV do not fit.
Result<KvPlan> PlanKv(const KvRequest& request, std::span<const KvUse> others);

// The shared budget of the on-demand models among `models`.
int64_t KvBudget(int64_t memory, std::span<const KvUse> models);

// KV where nothing is asked for: half of what the weights leave, at most 2 GiB.
int64_t DefaultKvBytes(int64_t left);

// This process's resident memory.
uint64_t ResidentBytes();

}  // namespace penstock
