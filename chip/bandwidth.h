// The measured limits of this machine, against which kernels are judged.
#pragma once

#include "chip/threads.h"

namespace penstock::chip {

// Bytes/s that all workers together read from DRAM. Takes about 0.3 s and temporarily 256 MB; returns 0 if
// that memory is not available.
double MeasureReadBandwidth(ThreadPool& pool);

struct ComputePeak {
  double int8_ops = 0;   // multiplications and additions of int8 products a second, all workers together
  double f32_flops = 0;  // the same of f32 fused multiply-adds
};
// With the widest instructions that kernels/ uses on this CPU; zeros if there are none. Takes about 0.1 s.
ComputePeak MeasureComputePeak(ThreadPool& pool);

}  // namespace penstock::chip
