// Engine: the process around one runner. It connects to the gateway's Unix socket, keeps models loaded, and
// runs the loop plan → step → emit.
//
// It exits after a Drain, and when its parent (the supervisor) dies. On SIGTERM it tells the gateway that it
// leaves, and drains when the gateway has stopped sending. When the gateway's connection is lost, it cancels
// all work, keeps the models, and reconnects with back-off.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "runner/runner.h"

namespace penstock {

struct EngineOptions {
  std::string name = "cpu0";
  std::string socket = "";      // where the gateway listens
  uint64_t memory_bytes = 0;    // for weights and KV; 0: what the chip has free, less a reserve
  uint64_t machine_memory = 0;  // the same where the chip's memory is this machine's; 0: all that is free
  uint32_t max_sequences = 64;  // running at once
  int32_t step_tokens = 512;    // the budget of one step: prefill is chunked to what decode leaves of it
  bool prefix_cache = true;
  uint64_t kv_bytes = 0;  // most for a model that sets none; 0: the engine decides (engine/memory.h)
  uint32_t context = 0;   // cap on each model's; 0: none
  std::vector<std::string> takes{};    // names of the models that it should hold; empty: any
  std::string place = "", note = "";   // where it runs, and further information, for display
  std::string chip = "", kernel = "";  // the hardware, for display; empty: from the runner
  Nanos step_timeout = 300 * kSecond;  // a step that takes longer hangs: the process exits, to be restarted
};

// Blocks until the engine ends; returns the process's exit status.
Result<int> RunEngine(std::unique_ptr<Runner> runner, EngineOptions options);

}  // namespace penstock
