// The native runner: Penstock's own models and kernels on this machine's CPUs.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "kernels/kernels.h"
#include "runner/runner.h"

namespace penstock {

struct NativeOptions {
  int threads = 0;  // ≤ 0: one per usable CPU
  // Unset: the environment's PENSTOCK_ISA (reference, avx2, avx512), else the fastest that this CPU runs.
  std::optional<kernels::Isa> isa;
  kernels::KvType kv = kernels::KvType::kF16;
};

// Steps run on a thread of the runner's own, so Submit returns at once; `done` is called from there.
// Errors: kInvalid or kUnsupported: PENSTOCK_ISA names a kernel version that is unknown or that this CPU
// does not run.
Result<std::unique_ptr<Runner>> MakeNativeRunner(const NativeOptions& options);

}  // namespace penstock
