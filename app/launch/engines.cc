#include "app/launch/engines.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "app/common/table.h"
#include "app/settings/table.h"
#include "app/settings/units.h"
#include "chip/cpu.h"
#include "engine/memory.h"

namespace penstock {
namespace {

constexpr std::string_view kOnlyEngine = "cpu0";
constexpr uint64_t kLeastMemory = 64ULL << 20;

// Whether it computes on this machine's cores and in its memory, as far as the settings show.
bool ComputesHere(const Config& config) {
  if (config.Attached()) return false;
  return config.runner != "ggml" || config.ggml.device.empty() || config.ggml.device == "CPU";
}

// The setting's full name: "engines.left.cores" if the engine's own table has it, else "engine.cores".
std::string NameOf(const EnginePlan& plan, const Config& base, const std::string& key) {
  const auto own = base.engines.find(plan.name);
  const bool has = own != base.engines.end() && own->second.contains("engine." + key);
  return has ? fmt::format("engines.{}.{}", plan.name, key) : "engine." + key;
}

Result<std::vector<EnginePlan>> Resolve(const LoadedConfig& loaded) {
  std::vector<EnginePlan> plans;
  for (const auto& [name, own] : loaded.config.engines) {
    EnginePlan& plan = plans.emplace_back(EnginePlan{.name = name, .loaded = loaded});
    plan.loaded.config.engines.clear();
    for (const auto& [setting, text] : own) {
      PENSTOCK_TRY(SetSetting(plan.loaded.config, setting, text));
      plan.loaded.source[setting] = "engines." + name;
    }
  }
  if (plans.empty()) plans.push_back({.name = std::string(kOnlyEngine), .loaded = loaded});
  return plans;
}

// ---- cores -----------------------------------------------------------------------------------------

Status TakeNamedCores(EnginePlan& plan, const Config& base, const Premises& premises) {
  const Config& config = plan.loaded.config;
  plan.quota = config.quota;
  if (!config.numa.empty()) {
    plan.numa = std::stoi(config.numa);
    const auto node = premises.nodes.find(plan.numa);
    if (node == premises.nodes.end()) {
      std::string there;
      for (const auto& [number, _] : premises.nodes) there += fmt::format(" {}", number);
      return Fail(Reason::kBadSetting, "{}: this machine has no NUMA node {}; it has:{}",
                  NameOf(plan, base, "numa"), plan.numa, there.empty() ? " none" : there);
    }
    std::ranges::set_intersection(node->second, premises.cores, std::back_inserter(plan.cores));
    if (plan.cores.empty()) {
      return Fail(Reason::kBadSetting, "{}: this process may not use any core of NUMA node {}; it may use {}",
                  NameOf(plan, base, "numa"), plan.numa, ShowCoreList(premises.cores));
    }
  }
  if (config.cores.empty()) return {};
  PENSTOCK_ASSIGN(plan.cores, ParseCoreList(config.cores));
  std::vector<int> missing;
  std::ranges::set_difference(plan.cores, premises.cores, std::back_inserter(missing));
  if (missing.empty()) return {};
  return Fail(Reason::kBadSetting, "{}: core {} does not exist or may not be used; this process may use {}",
              NameOf(plan, base, "cores"), ShowCoreList(missing), ShowCoreList(premises.cores));
}

class CoreLedger {
 public:
  explicit CoreLedger(const std::vector<int>& cores) {
    for (const int core : cores) promised_[core] = 0;
  }
  void Promise(const EnginePlan& plan) {
    const auto all = static_cast<double>(plan.cores.size());
    for (const int core : plan.cores) {
      promised_[core] += (plan.quota > 0 ? std::min(plan.quota, all) : all) / all;
      users_[core].push_back(plan.name);
    }
  }
  // The `count` cores of which the least is promised, ascending.
  std::vector<int> Least(size_t count) const {
    std::vector<std::pair<double, int>> order;
    for (const auto& [core, promised] : promised_) order.emplace_back(promised, core);
    std::ranges::sort(order);
    std::vector<int> cores;
    for (size_t i = 0; i < std::min(count, order.size()); ++i) cores.push_back(order[i].second);
    std::ranges::sort(cores);
    return cores;
  }
  std::vector<int> Free() const {
    std::vector<int> cores;
    for (const auto& [core, promised] : promised_) {
      if (promised == 0) cores.push_back(core);
    }
    return cores;
  }
  // Cores that are promised more than once, by the engines that share them.
  std::map<std::string, std::vector<int>> Overpromised() const {
    std::map<std::string, std::vector<int>> shared;
    for (const auto& [core, users] : users_) {
      if (users.size() > 1 && promised_.at(core) > 1.001)
        shared[fmt::format("{}", fmt::join(users, ", "))].push_back(core);
    }
    return shared;
  }

 private:
  std::map<int, double> promised_;
  std::map<int, std::vector<std::string>> users_;
};

void DivideCores(std::vector<EnginePlan>& plans, const Premises& premises,
                 std::vector<std::string>& warnings) {
  CoreLedger ledger(premises.granted);
  std::vector<EnginePlan*> limited, others;
  for (auto& plan : plans) {
    if (!plan.cores.empty()) {
      ledger.Promise(plan);
    } else if (plan.quota > 0) {
      limited.push_back(&plan);
    } else if (ComputesHere(plan.loaded.config)) {
      others.push_back(&plan);
    }
  }
  std::ranges::sort(limited, {}, [](const EnginePlan* plan) { return std::pair(-plan->quota, plan->name); });
  for (EnginePlan* plan : limited) {
    plan->cores = ledger.Least(static_cast<size_t>(std::ceil(plan->quota)));
    ledger.Promise(*plan);
  }
  const std::vector<int> free = ledger.Free();
  const bool alone = plans.size() == 1;
  for (size_t i = 0; i < others.size() && !alone; ++i) {
    if (free.size() >= others.size()) {
      const size_t begin = i * free.size() / others.size(), end = (i + 1) * free.size() / others.size();
      others[i]->cores.assign(free.begin() + static_cast<ptrdiff_t>(begin),
                              free.begin() + static_cast<ptrdiff_t>(end));
    } else {
      others[i]->cores = ledger.Least(1);
    }
    ledger.Promise(*others[i]);
  }
  for (const auto& [engines, cores] : ledger.Overpromised()) {
    warnings.push_back(fmt::format(
        "engines {} share core {}: each is slower while the others compute. Give each engine its own cores "
        "(engines.NAME.cores), or use fewer engines",
        engines, ShowCoreList(cores)));
  }
}

// ---- memory ----------------------------------------------------------------------------------------

Status DivideMemory(std::vector<EnginePlan>& plans, const Config& base, const Premises& premises,
                    std::vector<std::string>& warnings) {
  std::string claims;
  uint64_t claimed = 0;
  std::vector<EnginePlan*> others;
  for (auto& plan : plans) {
    const Config& config = plan.loaded.config;
    if (!ComputesHere(config)) continue;
    if (config.engine.memory_bytes == 0) {
      others.push_back(&plan);
      continue;
    }
    claimed += config.engine.memory_bytes;
    claims += fmt::format("{}{} = {}", claims.empty() ? "" : ", ", NameOf(plan, base, "memory"),
                          ShowBytes(config.engine.memory_bytes));
  }
  if (premises.memory == 0 || plans.size() == 1) return {};  // the engine itself measures what is free
  if (claimed > premises.memory) {
    return Fail(
        Reason::kBadSetting,
        "{}: together {}, but this machine has only {}; its engines share that memory, so give them less",
        claims, HumanBytes(claimed), HumanBytes(premises.memory));
  }
  const auto usable = static_cast<uint64_t>(EngineMemoryOf(static_cast<int64_t>(premises.memory_free)));
  const uint64_t left = usable - std::min(usable, claimed);
  if (claimed > usable) {
    warnings.push_back(fmt::format("{}: together {}, but only {} is free now for engines", claims,
                                   HumanBytes(claimed), HumanBytes(usable)));
  }
  if (others.empty()) return {};
  const uint64_t each = left / others.size();
  if (each < kLeastMemory) {
    std::string names;
    for (const auto* plan : others) names += fmt::format("{}{}", names.empty() ? "" : ", ", plan->name);
    return Fail(Reason::kBadSetting,
                "no memory is left for engine {}: engines may use {} now, and {} is assigned ({}); reduce "
                "that, or set engines.NAME.memory for each engine",
                names, HumanBytes(usable), HumanBytes(claimed), claims.empty() ? "nothing" : claims);
  }
  for (auto* plan : others) plan->machine_memory = each;
  return {};
}

}  // namespace

Premises LookAtPremises() {
  const chip::MemoryInfo memory = chip::QueryMemory();
  Premises premises{.cores = chip::AllowedCpus(),
                    .granted = chip::UsableCpus(),
                    .memory = static_cast<uint64_t>(memory.total),
                    .memory_free = static_cast<uint64_t>(memory.available)};
  std::error_code error;
  const std::string nodes = "/sys/devices/system/node";
  for (std::filesystem::directory_iterator at(nodes, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename();
    if (!name.starts_with("node") || name.find_first_not_of("0123456789", 4) != std::string::npos) continue;
    std::ifstream file(at->path() / "cpulist");
    std::string list;
    std::getline(file, list);
    if (const auto cores = ParseCoreList(list); cores.has_value() && name.size() > 4 && name.size() < 10)
      premises.nodes[std::stoi(name.substr(4))] = *cores;
  }
  return premises;
}

std::string EnginePlan::Place() const {
  std::vector<std::string> parts;
  if (!cores.empty())
    parts.push_back(fmt::format("core{} {}", cores.size() > 1 ? "s" : "", ShowCoreList(cores)));
  if (quota > 0) parts.push_back(fmt::format("at most {:g}% CPU", quota * 100));
  if (numa >= 0) parts.push_back(fmt::format("NUMA node {}", numa));
  return fmt::format("{}", fmt::join(parts, ", "));
}

Result<EnginePlans> PlanEngines(const LoadedConfig& loaded, const Premises& premises) {
  EnginePlans out;
  PENSTOCK_ASSIGN(out.engines, Resolve(loaded));
  for (auto& plan : out.engines) {
    PENSTOCK_TRY(TakeNamedCores(plan, loaded.config, premises));
    if (!plan.loaded.config.kernel.empty() && plan.loaded.config.runner != "native") {
      out.warnings.push_back(fmt::format("{}: only the native runner uses it, but engine {} has runner {}",
                                         NameOf(plan, loaded.config, "kernel"), plan.name,
                                         plan.loaded.config.runner));
    }
  }
  DivideCores(out.engines, premises, out.warnings);
  PENSTOCK_TRY(DivideMemory(out.engines, loaded.config, premises, out.warnings));
  return out;
}

}  // namespace penstock
