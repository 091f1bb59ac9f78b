// What this machine can do, as far as app/machine/fit.h needs it. It is measured once and stored in the data
// directory, because a measurement uses every core for about a second.
//
//   DATA/machine.json   the CPU, its cores, and the best figures ever measured here
#pragma once

#include <cstdint>
#include <string>

#include "app/common/data_dir.h"
#include "app/machine/fit.h"
#include "app/settings/config.h"

namespace penstock {

struct MachineSpeed {
  std::string cpu;  // model, cores and instructions; another CPU is measured again
  double bandwidth = 0, int8_ops = 0, f32_flops = 0;
  int64_t measured = 0;  // Unix seconds; 0: never
};

// This machine's own `cpu` text.
std::string CpuKey();

// The stored figures of this CPU; all zeros if there are none.
MachineSpeed RememberedSpeed(const DataDir& data);
// Measures, and keeps the better of each figure, because other programs only reduce it. Stores the result
// unless a cloud runs on this directory, which would make the figures too low.
MachineSpeed MeasureSpeed(const DataDir& data);

// Memory, disk, speed and settings. Measures the speed if none is stored.
FitMachine LookAtMachine(const Config& config, const DataDir& data);

}  // namespace penstock
