#include "app/machine/machine.h"

#include <algorithm>
#include <cmath>

#include "app/common/json_get.h"
#include "chip/bandwidth.h"
#include "chip/cpu.h"
#include "chip/threads.h"

namespace penstock {
namespace json = boost::json;
namespace {

std::string FileOf(const DataDir& data) {
  return data.path() + "/machine.json";
}

// Other programs on this machine only reduce the result, so this repeats as long as it rises.
double BestBandwidth(chip::ThreadPool& pool) {
  constexpr int kRounds = 4;
  double best = 0;
  for (int round = 0; round < kRounds; ++round) {
    const double measured = chip::MeasureReadBandwidth(pool);
    if (measured <= 1.03 * best) return std::max(best, measured);
    best = measured;
  }
  return best;
}

// Ignores errors: if nothing is stored, the next use only measures again, which takes a second.
void Remember(const DataDir& data, const MachineSpeed& speed) {
  const json::object object{{"cpu", speed.cpu},
                            {"read_bytes_per_second", std::round(speed.bandwidth)},
                            {"int8_operations_per_second", std::round(speed.int8_ops)},
                            {"f32_operations_per_second", std::round(speed.f32_flops)},
                            {"measured", speed.measured}};
  (void)WriteFileAtomically(FileOf(data), PrettyJson(object));
}

}  // namespace

std::string CpuKey() {
  const auto features = chip::DetectCpuFeatures();
  return fmt::format("{}, {} cores, {}", chip::CpuModel(), chip::UsableCpus().size(),
                     features.avx512_vnni ? "avx512_vnni"
                     : features.avx2      ? "avx2"
                                          : "baseline");
}

MachineSpeed RememberedSpeed(const DataDir& data) {
  const MachineSpeed nothing{.cpu = CpuKey()};
  const auto text = ReadTextFile(FileOf(data));
  if (!text.has_value()) return nothing;
  const auto object = ParseJsonObject(*text, "machine.json");
  if (!object.has_value() || GetText(*object, "cpu") != nothing.cpu) return nothing;
  return {.cpu = nothing.cpu,
          .bandwidth = GetReal(*object, "read_bytes_per_second"),
          .int8_ops = GetReal(*object, "int8_operations_per_second"),
          .f32_flops = GetReal(*object, "f32_operations_per_second"),
          .measured = GetInt(*object, "measured")};
}

MachineSpeed MeasureSpeed(const DataDir& data) {
  MachineSpeed speed = RememberedSpeed(data);
  chip::ThreadPool pool;
  const chip::ComputePeak peak = chip::MeasureComputePeak(pool);
  speed.int8_ops = std::max(speed.int8_ops, peak.int8_ops);
  speed.f32_flops = std::max(speed.f32_flops, peak.f32_flops);
  speed.bandwidth = std::max(speed.bandwidth, BestBandwidth(pool));
  speed.measured = SystemClock().Wall() / kSecond;
  if (!data.LookAtLock().held) Remember(data, speed);
  return speed;
}

FitMachine LookAtMachine(const Config& config, const DataDir& data) {
  MachineSpeed speed = RememberedSpeed(data);
  if (speed.measured == 0) speed = MeasureSpeed(data);
  const chip::MemoryInfo memory = chip::QueryMemory();
  FitMachine machine{.memory = static_cast<uint64_t>(memory.total),
                     .memory_free = static_cast<uint64_t>(memory.available),
                     .bandwidth = speed.bandwidth,
                     .int8_ops = speed.int8_ops,
                     .f32_flops = speed.f32_flops,
                     .engine_memory = config.engine.memory_bytes,
                     .kv_memory = config.engine.kv_bytes,
                     .context = config.engine.context,
                     .max_sequences = config.engine.max_sequences};
  if (const auto disk = FreeDiskBytes(data.path()); disk.has_value()) machine.disk_free = *disk;
  return machine;
}

}  // namespace penstock
