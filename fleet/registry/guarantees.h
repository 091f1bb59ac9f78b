// Guarantees: what an engine's abilities mean for those who use it: the same words in the API, on the command
// line and in docs/chips.md.
#pragma once

#include <algorithm>
#include <array>
#include <string_view>

#include "engine/wire.pb.h"

namespace penstock {

struct Guarantee {
  std::string_view name;
  std::string_view kept;  // "yes", "partly", "no"
};
using Guarantees = std::array<Guarantee, 7>;

// How exactly tokens were counted.
inline std::string_view ExactWord(bool exact) {
  return exact ? "yes" : "partly";
}

inline Guarantees GuaranteesOf(const wire::Abilities& abilities) {
  const auto yes = [](bool can) -> std::string_view { return can ? "yes" : "no"; };
  return {{{"reclaim", yes(abilities.reclaim())},
           {"resume", yes(abilities.resume())},
           {"exact_usage", ExactWord(abilities.exact_usage())},
           // An upstream is cut off when the budget is spent, and may have computed a little more.
           {"hard_budget", ExactWord(abilities.exact_usage())},
           {"many_models", yes(abilities.many_models())},
           // An upstream that is given text instead of tokens reads control tokens in it.
           {"message_text", ExactWord(!abilities.wants_text())},
           {"training", "no"}}};
}

// What both keep: who asks for a model may be answered by either.
inline Guarantees Weaker(Guarantees a, const Guarantees& b) {
  const auto strength = [](std::string_view kept) { return kept == "yes" ? 2 : kept == "partly" ? 1 : 0; };
  for (size_t i = 0; i < a.size(); ++i) {
    if (strength(b[i].kept) < strength(a[i].kept)) a[i].kept = b[i].kept;
  }
  return a;
}

}  // namespace penstock
