// What an engine may take after the system killed it for memory: plainly less than what it could not have,
// and never less than its models' weights need, since with less it would serve nothing.
#pragma once

#include <algorithm>
#include <cstdint>

namespace penstock {

struct MemoryDeath {
  uint64_t had = 0;     // its budget; 0: not known
  uint64_t peak = 0;    // the most that it held; 0: not known
  uint64_t needed = 0;  // by the weights of its models, and the least KV
  uint64_t free = 0;    // what a runner would be given now that it is gone; 0: not known
};

// 0: nothing is known to learn from.
constexpr uint64_t BudgetAfter(const MemoryDeath& death) {
  uint64_t most = death.had == 0 ? death.peak : death.had;
  if (death.peak != 0) most = std::min(most, death.peak);  // what it held was already too much
  uint64_t less = most / 20 * 17;                          // × 0.85
  if (death.free != 0) less = std::min(less, death.free);
  const uint64_t budget = std::max(less, death.needed);
  return most == 0 ? 0 : death.had == 0 ? budget : std::min(budget, death.had);
}

}  // namespace penstock
