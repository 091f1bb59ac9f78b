#include "gateway/request/model_json.h"

#include <algorithm>

namespace penstock::gateway {

std::string_view ModelStateName(wire::ModelState::State state) {
  switch (state) {
    case wire::ModelState::LOADING:
      return "loading";
    case wire::ModelState::READY:
      return "ready";
    case wire::ModelState::FAILED:
      return "failed";
    default:
      return "unloaded";
  }
}

std::optional<Guarantees> GuaranteesFor(std::string_view model, const std::vector<EngineView>& engines) {
  std::optional<Guarantees> all;
  for (const EngineView& engine : engines) {
    const bool has =
        std::ranges::any_of(engine.models, [&](const auto& state) { return Answers(state.name(), model); });
    if (!engine.connected || !has) continue;
    const Guarantees kept = GuaranteesOf(engine.abilities);
    all = all ? Weaker(*all, kept) : kept;
  }
  return all;
}

void AppendGuarantees(const std::optional<Guarantees>& guarantees, JsonWriter& writer) {
  writer.Key("guarantees").Object();
  if (guarantees) {
    for (const auto& [name, kept] : *guarantees) writer.Field(name, kept);
  }
  writer.EndObject();
}

}  // namespace penstock::gateway
