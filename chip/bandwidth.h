// What this machine can do at best, measured: the limits that kernels are judged against.
#pragma once

#include "chip/threads.h"

namespace penstock::chip {

// Bytes/s that all workers together read from DRAM. Takes about 0.3 s and, for that time, 256 MB; 0 if
// there is no memory for it.
double MeasureReadBandwidth(ThreadPool& pool);

struct ComputePeak {
  double int8_ops = 0;   // multiplications and additions of int8 products a second, all workers together
  double f32_flops = 0;  // the same of f32 fused multiply-adds
};
// By the widest instructions that kernels/ uses on this CPU; zeros where it has none. Takes about 0.1 s.
ComputePeak MeasureComputePeak(ThreadPool& pool);

}  // namespace penstock::chip
