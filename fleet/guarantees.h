// Guarantees: what an engine's abilities mean for those who use it: the same words in the API, on the command
// line and in docs/chips.md.
#pragma once

#include <array>
#include <string_view>

#include "engine/wire.pb.h"

namespace penstock {

struct Guarantee {
  std::string_view name;
  std::string_view kept;  // "yes", "partly", "no"
};
using Guarantees = std::array<Guarantee, 6>;

inline Guarantees GuaranteesOf(const wire::Abilities& abilities) {
  const auto yes = [](bool can) -> std::string_view { return can ? "yes" : "no"; };
  const auto counted = [&]() -> std::string_view { return abilities.exact_usage() ? "yes" : "partly"; };
  return {{{"reclaim", yes(abilities.reclaim())},
           {"resume", yes(abilities.resume())},
           {"exact_usage", counted()},
           // An upstream is cut off when the budget is spent, and may have computed a little more.
           {"hard_budget", counted()},
           {"many_models", yes(abilities.many_models())},
           {"training", "no"}}};
}

}  // namespace penstock
