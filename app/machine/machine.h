// What this machine can do, as far as fits and estimates need it; measured once and remembered in the data
// directory, since a measurement takes every core for about a second.
//
//   DATA/machine.json   the CPU, its cores, and the best that was ever measured here
#pragma once

#include <cstdint>
#include <string>

#include "app/common/data_dir.h"
#include "app/machine/fit.h"
#include "app/settings/config.h"

namespace penstock {

struct MachineSpeed {
  std::string cpu;  // model, cores and instructions: another CPU is measured anew
  double bandwidth = 0, int8_ops = 0, f32_flops = 0;
  int64_t measured = 0;  // Unix seconds; 0: never
};

// This machine's own `cpu` text.
std::string CpuKey();

// What is remembered of this CPU; all zeros where nothing is.
MachineSpeed RememberedSpeed(const DataDir& data);
// Measures, keeps the better of each figure (other programs only take away), and remembers it, unless a cloud
// works on this directory: then the figures are what it leaves.
MachineSpeed MeasureSpeed(const DataDir& data);

// Memory, disk, speed and settings. Measures where nothing is remembered.
FitMachine LookAtMachine(const Config& config, const DataDir& data);

}  // namespace penstock
