#include "app/launch/children.h"

#include <algorithm>
#include <cstdlib>

#include "app/common/table.h"
#include "app/launch/child.h"
#include "app/launch/memory_budget.h"
#include "app/models/model_store.h"
#include "attach/trust.h"
#include "chip/cpu.h"
#include "engine/memory.h"

namespace penstock {

ChildSpec GatewayChild(const LoadedConfig& loaded, const DataDir& data, int listen_fd,
                       const std::string& socket) {
  ChildSpec child{.name = "gateway", .args = ChildArgs("gateway", loaded)};
  for (const auto& word :
       {std::string("--listen-fd"), std::to_string(listen_fd), std::string("--engine-socket"), socket}) {
    child.args.push_back(word);
  }
  child.keep_fd = listen_fd;
  child.log = LogFile(data, loaded.config, "gateway");
  child.stop_within = loaded.config.gateway.drain_timeout + 15 * kSecond;
  child.oom_score = 100;
  child.drain_within = child.stop_within;
  child.await = {"await", "--data", data.path(), "--replaces"};
  return child;
}

namespace {

// The size of its models' weights plus the minimum KV memory of each model.
uint64_t NeededMemory(const DataDir& data, const std::vector<std::string>& takes) {
  uint64_t needed = 0;
  for (const auto& manifest : ModelStore(data).List()) {
    if (takes.empty() || std::ranges::find(takes, manifest.name) != takes.end()) {
      needed += manifest.Bytes() + kLeastKvBytes;
    }
  }
  return needed;
}

// What an engine gets at each start: its memory budget, and a note for the users.
struct EngineBudget {
  uint64_t memory = 0, machine_memory = 0;
  std::string note;
};

std::vector<std::string> EngineArgs(const EnginePlan& plan, const std::string& socket,
                                    const EngineBudget& budget) {
  std::vector<std::string> args = ChildArgs("engine", plan.loaded);
  const auto add = [&](const char* flag, const std::string& value) {
    args.emplace_back(flag);
    args.push_back(value);
  };
  add("--name", plan.name);
  add("--socket", socket);
  if (budget.memory > 0) add("--memory", std::to_string(budget.memory));
  if (budget.machine_memory > 0) add("--machine-memory", std::to_string(budget.machine_memory));
  if (const std::string place = plan.Place(); !place.empty()) add("--place", place);
  if (!budget.note.empty()) add("--note", budget.note);
  return args;
}

// The engine was killed for memory: reduces its budget for the next starts. Returns what was done, in words.
std::string LearnBudget(EngineBudget& budget, const EnginePlan& plan, const DataDir& data, uint64_t peak) {
  const Config& config = plan.loaded.config;
  uint64_t had = budget.memory > 0 ? budget.memory : config.engine.memory_bytes;
  if (had == 0) had = budget.machine_memory;
  const int64_t free = chip::QueryMemory().available;
  const uint64_t now =
      BudgetAfter({.had = had,
                   .peak = peak,
                   .needed = NeededMemory(data, config.engine.takes),
                   .free = static_cast<uint64_t>(std::max<int64_t>(free - kMemoryHeadroom, 0))});
  if (now == 0 || (now >= had && had > 0)) {
    return fmt::format("it used {}, and its models need {}: unload one, or use a smaller quantisation",
                       HumanBytes(peak), HumanBytes(NeededMemory(data, config.engine.takes)));
  }
  budget.memory = now;
  budget.note = fmt::format("memory budget reduced to {} since it was killed for memory, using {}",
                            HumanBytes(now), HumanBytes(peak));
  return fmt::format("it used {} and from now on has a budget of {}{}", HumanBytes(peak), HumanBytes(now),
                     had > 0 ? ", instead of " + HumanBytes(had) : "");
}

// Errors of its CA file that can be found before the engine starts.
Status CheckAuthorities(const EnginePlan& plan) {
  const Config& config = plan.loaded.config;
  if (config.attach.authorities.empty()) return {};
  if (!config.attach.url.starts_with("https://")) {
    return Fail(Reason::kBadSetting,
                "engine {}: url_ca sets the trusted CAs of an https:// server, but its url is '{}'",
                plan.name, config.attach.url);
  }
  if (const auto trust = Trust::In(config.attach.authorities); !trust)
    return Fail(Reason::kBadSetting, "engine {}: {}", plan.name, trust.error().message);
  return {};
}

}  // namespace

Result<ChildSpec> EngineChild(const EnginePlan& plan, const DataDir& data, const std::string& socket,
                              CpuGroups& groups) {
  const Config& config = plan.loaded.config;
  PENSTOCK_TRY(CheckAuthorities(plan));
  // Secrets are never in a command line: the engine reads the key from its environment.
  if (!config.attach.key.empty()) setenv(KeyVariable(plan.name).c_str(), config.attach.key.c_str(), 1);
  EngineBudget budget{.memory = 0, .machine_memory = plan.machine_memory, .note = ""};
  ChildSpec child{.name = fmt::format("engine {}", plan.name), .args = EngineArgs(plan, socket, budget)};
  child.log = LogFile(data, config, fmt::format("engine-{}", plan.name));
  child.stop_within = 15 * kSecond;
  child.oom_score = 500;
  child.cores = plan.cores;
  child.numa = plan.numa;
  child.drain_within = config.gateway.drain_timeout + 15 * kSecond;
  child.await = {"await", "--data", data.path(), "--engine", plan.name, "--replaces"};
  child.out_of_memory = [plan, data, socket, budget](ChildSpec& spec, uint64_t peak) mutable {
    std::string words = LearnBudget(budget, plan, data, peak);
    spec.args = EngineArgs(plan, socket, budget);
    return words;
  };
  if (plan.quota == 0) return child;
  auto group = groups.Make(plan.name, plan.quota);
  if (!group.has_value()) {
    return Fail(
        Code::kUnsupported,
        "cannot set a CPU quota for engine {}: {}. Remove `quota` (`cores` needs no control group), run `up` "
        "as root, or let systemd delegate a control group (Delegate=cpu and ProtectControlGroups=no)",
        plan.name, group.error().message);
  }
  child.group = *group;
  return child;
}

}  // namespace penstock
