// Engines: which engines a configuration asks for, and what each gets of this machine. Arithmetic on plain
// data; app/commands/up.cc makes processes of it.
//
// Cores: what an engine names is its own. One with a quota and no cores gets as many as its quota has, those
// with the least promised first. The others divide what is left in equal runs; where more engines than cores
// are left, they share. A lone engine that names nothing is bound to nothing. Memory: what an engine names is
// its own; the others divide equally what is free, less the usual reserve.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "app/settings/config.h"
#include "base/result.h"

namespace penstock {

// What there is to divide.
struct Premises {
  std::vector<int> cores{};                 // that this process may use, ascending
  std::vector<int> granted{};               // the same, cut to a control group's CPU quota
  std::map<int, std::vector<int>> nodes{};  // cores of each NUMA node
  uint64_t memory = 0, memory_free = 0;     // bytes; 0: not known
};
Premises LookAtPremises();

struct EnginePlan {
  std::string name;
  LoadedConfig loaded;       // `engine.*` as this engine has it
  std::vector<int> cores{};  // it may run on these alone; empty: wherever it pleases
  int numa = -1;             // its memory is of this node; -1: of any
  double quota = 0;          // cores' worth of CPU time; 0: no limit
  uint64_t machine_memory =
      0;  // of this machine's, for weights and KV, where it names none; 0: as it finds it

  // For people: "cores 0-3, at most 150% CPU, NUMA node 0"; empty: nothing was said.
  std::string Place() const;
};

struct EnginePlans {
  std::vector<EnginePlan> engines;    // by name
  std::vector<std::string> warnings;  // what is allowed and perhaps not meant
};
// Errors (kInvalid) name the setting and the way out: cores or nodes that are not there, memory that does not
// add up.
Result<EnginePlans> PlanEngines(const LoadedConfig& loaded, const Premises& premises);

}  // namespace penstock
