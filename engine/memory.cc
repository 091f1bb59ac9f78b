#include "engine/memory.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <utility>

#include "chip/cpu.h"
#include "model/files/gguf_files.h"

namespace penstock {
namespace {

constexpr int64_t kMiB = 1 << 20, kMinReserve = 512 * kMiB, kDefaultKv = 2048 * kMiB;

// Bytes of the weight files at `path`; 0 if there are none: the loader says better what is wrong.
int64_t WeightBytes(const std::string& path) {
  std::error_code ignored;
  int64_t bytes = 0;
  if (!std::filesystem::is_directory(path, ignored)) {
    const auto parts = GgufPartsOf(path);
    for (const auto& part : parts.value_or(std::vector{path})) {
      const auto size = std::filesystem::file_size(part, ignored);
      bytes += ignored ? 0 : static_cast<int64_t>(size);
    }
    return bytes;
  }
  for (const auto& entry : std::filesystem::directory_iterator(path, ignored)) {
    if (entry.path().extension() != ".safetensors") continue;
    const auto size = entry.file_size(ignored);
    if (!ignored) bytes += static_cast<int64_t>(size);
  }
  return bytes;
}

}  // namespace

uint64_t DefaultEngineMemory(int64_t chip_memory) {
  return static_cast<uint64_t>(EngineMemoryOf(chip_memory > 0 ? chip_memory : chip::QueryMemory().available));
}

int64_t EngineMemoryOf(int64_t available) {
  return std::max<int64_t>(0, available - std::max(kMinReserve, available / 10));
}

int64_t DefaultKvBytes(int64_t left) {
  return std::clamp(left / 2, kLeastKvBytes, kDefaultKv);
}

Result<KvPlan> PlanKv(const KvRequest& request, std::span<const KvUse> others) {
  const int64_t weights = WeightBytes(request.path);
  KvPlan plan{.use = {.weights = weights}, .most = request.requested};
  if (!request.path.starts_with("fake:")) {
    int64_t left = request.memory - weights, promised = 0;
    for (const KvUse& other : others) {
      left -= other.weights + other.fixed;
      promised = std::max(promised, other.longest);
    }
    if (!request.on_demand) left -= std::exchange(promised, 0);
    const int64_t wanted = std::max(request.requested, kLeastKvBytes);
    if (left < std::max(wanted, promised)) {
      return Fail(Reason::kEngineMemory,
                  "{}: {} MB of weights and {} MB of KV do not fit into the {} MB that this engine has left; "
                  "unload another model, take a smaller quantisation, or give the engine more memory",
                  request.path, weights / kMiB, std::max(wanted, promised) / kMiB,
                  std::max<int64_t>(left + weights, 0) / kMiB);
    }
    if (request.requested == 0) plan.most = DefaultKvBytes(left);
  }
  (request.on_demand ? plan.use.most : plan.use.fixed) = plan.most;
  return plan;
}

int64_t KvBudget(int64_t memory, std::span<const KvUse> models) {
  int64_t left = memory, most = 0, longest = 0;
  for (const KvUse& model : models) {
    left -= model.weights + model.fixed;
    most += model.most;
    longest = std::max(longest, model.longest);
  }
  return std::max(std::min(left, most), longest);  // weights are measured after they were planned
}

uint64_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  uint64_t size = 0, resident = 0;
  statm >> size >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace penstock
