// The guarantees of engines and models (fleet/registry/guarantees.h), as shown to users.
#pragma once

#include <string>
#include <vector>

#include "app/common/json_get.h"
#include "fleet/registry/guarantees.h"

namespace penstock {

// The columns of a table, and the cells for the API's "guarantees".
inline std::vector<std::string> GuaranteeColumns() {
  return {"RECLAIM", "RESUME", "EXACT USAGE", "HARD BUDGET", "MANY MODELS", "MESSAGE TEXT", "TRAINING"};
}
inline std::vector<std::string> GuaranteeCells(const boost::json::object& kept) {
  std::vector<std::string> cells;
  for (const Guarantee& guarantee : GuaranteesOf({})) cells.push_back(GetText(kept, guarantee.name));
  return cells;
}

// From the API's answer; valid as long as `kept`.
inline Guarantees GuaranteesFrom(const boost::json::object& kept) {
  Guarantees guarantees = GuaranteesOf({});
  for (Guarantee& guarantee : guarantees) {
    const auto* const word = kept.if_contains(guarantee.name);
    if (word != nullptr && word->is_string()) guarantee.kept = word->get_string();
  }
  return guarantees;
}

// "reclaim, resume: yes; exact usage: partly; training: no".
inline std::string GuaranteeText(const Guarantees& guarantees) {
  std::string text;
  for (const std::string_view kept : {"yes", "partly", "no"}) {
    std::string names;
    for (const Guarantee& guarantee : guarantees) {
      if (guarantee.kept != kept) continue;
      names += names.empty() ? "" : ", ";
      names += guarantee.name;
    }
    std::ranges::replace(names, '_', ' ');
    if (!names.empty()) text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", names, kept);
  }
  return text;
}

}  // namespace penstock
