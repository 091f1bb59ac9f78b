#include "chip/cpu.h"

#include <cpuid.h>
#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>

namespace penstock::chip {
namespace {

struct CpuidRegisters {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

CpuidRegisters Cpuid(uint32_t leaf, uint32_t subleaf = 0) {
  CpuidRegisters r;
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx);
  return r;
}

// XCR0: the register state that the operating system saves (Intel SDM vol. 1, 13.3).
uint64_t EnabledStates() {
  constexpr uint32_t kOsxsave = 1U << 27;
  if ((Cpuid(1).ecx & kOsxsave) == 0) return 0;
  uint32_t low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

constexpr bool All(uint64_t value, uint64_t mask) {
  return (value & mask) == mask;
}

constexpr uint32_t Bit(int i) {
  return uint32_t{1} << i;
}

std::optional<int64_t> ReadNumber(const std::string& path) {
  std::ifstream file(path);
  int64_t value = 0;
  if (file >> value) return value;
  return std::nullopt;
}

// The number after `key` at the start of a line ("MemTotal:  24627332 kB"); 0 if there is none.
int64_t NumberAfter(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(key, 0) == 0) return std::atoll(line.c_str() + key.size());
  }
  return 0;
}

// This process's group for a v1 controller, or for v2 (controller ""): "4:memory:/a/b" → "/a/b".
std::optional<std::string> CgroupOf(const std::string& proc, const std::string& controller) {
  std::ifstream file(proc + "/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first == std::string::npos ? first : first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const bool match = controller.empty() ? controllers == ",,"
                                          : controllers.find("," + controller + ",") != std::string::npos;
    if (match) return line.substr(second + 1);
  }
  return std::nullopt;
}

// Folders from the group up to the root, because limits of all ancestors also apply. In a container, the
// group's path may not exist below the mount; then the mount's root is the group.
std::vector<std::string> GroupAndAncestors(const std::string& mount, std::string group) {
  std::vector<std::string> folders;
  while (group.size() > 1) {
    folders.push_back(mount + group);
    group.resize(group.rfind('/'));
  }
  folders.push_back(mount);
  return folders;
}

struct Limit {
  int64_t limit, used;  // `used` without file pages that the kernel would drop first
};

// Numbers that mean "no limit" ("max" in v2, a huge number in v1) are left out.
std::vector<Limit> MemoryLimits(const std::string& proc, const std::string& cgroup) {
  std::vector<Limit> limits;
  const auto collect = [&](const std::string& mount, const std::string& controller, const char* limit_file,
                           const char* used_file, const char* droppable) {
    const std::optional<std::string> group = CgroupOf(proc, controller);
    if (!group) return;
    for (const std::string& folder : GroupAndAncestors(mount, *group)) {
      const std::optional<int64_t> limit = ReadNumber(folder + "/" + limit_file);
      constexpr int64_t kNoLimit = int64_t{1} << 60;
      if (!limit || *limit <= 0 || *limit >= kNoLimit) continue;
      const int64_t used = ReadNumber(folder + "/" + used_file).value_or(0);
      limits.push_back({*limit, used - NumberAfter(folder + "/memory.stat", droppable)});
    }
  };
  collect(cgroup, "", "memory.max", "memory.current", "inactive_file ");
  collect(cgroup + "/memory", "memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
          "total_inactive_file ");
  return limits;
}

// CPUs' worth of time that the cgroup grants; 0: no quota.
double CpuQuota() {
  double quota = 0;
  const auto tighten = [&quota](double cpus) { quota = quota == 0 ? cpus : std::min(quota, cpus); };
  if (const auto group = CgroupOf("/proc", "")) {
    for (const std::string& folder : GroupAndAncestors("/sys/fs/cgroup", *group)) {
      std::ifstream file(folder + "/cpu.max");
      double limit = 0, period = 0;
      if (file >> limit >> period && limit > 0 && period > 0) tighten(limit / period);
    }
  }
  if (const auto group = CgroupOf("/proc", "cpu")) {
    for (const std::string& folder : GroupAndAncestors("/sys/fs/cgroup/cpu", *group)) {
      const auto limit = ReadNumber(folder + "/cpu.cfs_quota_us");
      const auto period = ReadNumber(folder + "/cpu.cfs_period_us");
      if (limit.value_or(0) > 0 && period.value_or(0) > 0) {
        tighten(static_cast<double>(*limit) / static_cast<double>(*period));
      }
    }
  }
  return quota;
}

}  // namespace

CpuFeatures DetectCpuFeatures() {
  constexpr uint64_t kYmm = 0x6, kZmm = 0xe6, kTiles = 0x60000;
  const uint64_t states = EnabledStates();
  const CpuidRegisters basic = Cpuid(1), extended = Cpuid(7);
  constexpr uint32_t kFma = Bit(12), kAvx = Bit(28), kF16c = Bit(29);
  constexpr uint32_t kAvx2 = Bit(5), kAvx512F = Bit(16), kAvx512Dq = Bit(17), kAvx512Bw = Bit(30);
  constexpr uint32_t kAvx512Vl = Bit(31), kAvx512Vnni = Bit(11), kAmxInt8 = Bit(25), kAmxTile = Bit(24);

  CpuFeatures f;
  f.avx2 = All(states, kYmm) && All(basic.ecx, kFma | kAvx | kF16c) && All(extended.ebx, kAvx2);
  f.avx512_vnni = f.avx2 && All(states, kZmm) &&
                  All(extended.ebx, kAvx512F | kAvx512Dq | kAvx512Bw | kAvx512Vl) &&
                  All(extended.ecx, kAvx512Vnni);
  f.amx_int8 = f.avx512_vnni && All(states, kTiles) && All(extended.edx, kAmxInt8 | kAmxTile);
  return f;
}

std::string CpuModel() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("model name", 0) != 0) continue;
    const size_t colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown CPU";
}

std::vector<int> AllowedCpus() {
  std::vector<int> cpus;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
    }
  }
  if (cpus.empty()) cpus.push_back(0);
  return cpus;
}

std::vector<int> UsableCpus() {
  std::vector<int> cpus = AllowedCpus();
  if (const double quota = CpuQuota(); quota > 0) {
    const auto granted = static_cast<size_t>(std::max(1.0, std::ceil(quota)));
    if (granted < cpus.size()) cpus.resize(granted);
  }
  return cpus;
}

MemoryInfo QueryMemory() {
  return QueryMemory("/proc", "/sys/fs/cgroup");
}

MemoryInfo QueryMemory(const std::string& proc, const std::string& cgroup) {
  MemoryInfo info{NumberAfter(proc + "/meminfo", "MemTotal:") * 1024,
                  NumberAfter(proc + "/meminfo", "MemAvailable:") * 1024};
  for (const Limit& limit : MemoryLimits(proc, cgroup)) {
    info.total = info.total == 0 ? limit.limit : std::min(info.total, limit.limit);
    info.available = std::min(info.available, std::max<int64_t>(0, limit.limit - limit.used));
  }
  return info;
}

}  // namespace penstock::chip
