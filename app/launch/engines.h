// Engines: which engines a configuration defines, and which cores and memory each one gets. Arithmetic on
// plain data; app/launch/children.h makes processes of it.
//
// Cores: an engine has the cores that it names. One with a quota and no cores gets as many cores as its
// quota, the least used first. The others divide the remaining cores into equal contiguous ranges; if there
// are more engines than cores left, they share. A single engine that names no cores is not bound. Memory: an
// engine has the memory that it names; the others divide equally what is free, minus the usual reserve.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "app/settings/config.h"
#include "base/result.h"

namespace penstock {

// The resources of this machine that the engines divide.
struct Premises {
  std::vector<int> cores{};                 // cores that this process may use, ascending
  std::vector<int> granted{};               // the same, limited to a control group's CPU quota
  std::map<int, std::vector<int>> nodes{};  // cores of each NUMA node
  uint64_t memory = 0, memory_free = 0;     // bytes; 0: not known
};
Premises LookAtPremises();

struct EnginePlan {
  std::string name;
  LoadedConfig loaded;       // with the `engine.*` settings of this engine
  std::vector<int> cores{};  // it may run only on these; empty: on any core
  int numa = -1;             // its memory comes from this node; -1: from any node
  double quota = 0;          // cores' worth of CPU time; 0: no limit
  // Its part of this machine's memory, for weights and KV, if it names none; 0: the engine measures what is
  // free.
  uint64_t machine_memory = 0;

  // As shown to users: "cores 0-3, at most 150% CPU, NUMA node 0"; empty: nothing is configured.
  std::string Place() const;
};

struct EnginePlans {
  std::vector<EnginePlan> engines;    // by name
  std::vector<std::string> warnings;  // allowed settings that may be a mistake
};
// Errors (kInvalid) name the setting and what to do: cores or nodes that do not exist, or more memory than
// there is.
Result<EnginePlans> PlanEngines(const LoadedConfig& loaded, const Premises& premises);

}  // namespace penstock
