// How an engine's memory is divided between weights and KV.
#pragma once

#include <cstdint>
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

struct KvRequest {
  std::string path;       // of the model: its files' size stands for its weights
  int64_t requested = 0;  // bytes; 0: a fair default, half of what the weights leave, at most 2 GiB
  int64_t free = 0;       // what the engine has left for this model
};
// Bytes of KV for a model that is to be loaded ("fake:…" has no weights: as requested).
// Errors: kOverloaded, with the sizes, if weights and KV do not fit.
Result<int64_t> KvBytesFor(const KvRequest& request);

// KV where nothing is asked for: half of what the weights leave, at most 2 GiB.
int64_t DefaultKvBytes(int64_t left);

// This process's resident memory.
uint64_t ResidentBytes();

}  // namespace penstock
