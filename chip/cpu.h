// This machine's CPU: its model and instruction sets, and the CPUs and memory that this process may use.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace penstock::chip {

struct CpuFeatures {
  bool avx2 = false;         // AVX2, FMA and F16C
  bool avx512_vnni = false;  // AVX-512 F, BW, DQ, VL and VNNI
  bool amx_int8 = false;
};
// As the CPU reports and the operating system enables them.
CpuFeatures DetectCpuFeatures();

std::string CpuModel();  // "AMD EPYC …"; "unknown CPU" if the system does not report it

// CPU numbers in this thread's affinity mask, ascending; never empty.
std::vector<int> AllowedCpus();
// The same, limited to the cgroup's CPU quota.
std::vector<int> UsableCpus();

struct MemoryInfo {
  int64_t total = 0;      // bytes of RAM, or the tightest cgroup limit if smaller
  int64_t available = 0;  // bytes that can still be allocated without swapping, under the same limits
};
// 0 if the system does not report it.
MemoryInfo QueryMemory();

// The same, read from given roots (tests): `proc` for /proc, `cgroup` for /sys/fs/cgroup.
MemoryInfo QueryMemory(const std::string& proc, const std::string& cgroup);

}  // namespace penstock::chip
