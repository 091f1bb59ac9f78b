// The memory budget of an engine after the system killed it for memory: clearly less than what was too much,
// but never less than its models' weights need, because with less it could not serve any of them.
#pragma once

#include <algorithm>
#include <cstdint>

namespace penstock {

struct MemoryDeath {
  uint64_t had = 0;     // its budget; 0: not known
  uint64_t peak = 0;    // the most that it used; 0: not known
  uint64_t needed = 0;  // for the weights of its models and the minimum KV memory
  uint64_t free = 0;    // what a runner would get now that it has ended; 0: not known
};

// 0: neither its budget nor its use is known.
constexpr uint64_t BudgetAfter(const MemoryDeath& death) {
  uint64_t most = death.had == 0 ? death.peak : death.had;
  if (death.peak != 0) most = std::min(most, death.peak);  // what it used was already too much
  uint64_t less = most / 20 * 17;                          // × 0.85
  if (death.free != 0) less = std::min(less, death.free);
  const uint64_t budget = std::max(less, death.needed);
  return most == 0 ? 0 : death.had == 0 ? budget : std::min(budget, death.had);
}

}  // namespace penstock
