#include "fleet/placement/affinity.h"

#include <algorithm>
#include <functional>
#include <string>

#include "base/random.h"

namespace penstock {

PrefixChain Affinity::Chain(std::string_view model, std::string_view scope, std::span<const int32_t> prompt) {
  PrefixChain chain;
  if (scope.empty()) return chain;
  uint64_t hash = Mix(std::hash<std::string_view>()(model)) ^ std::hash<std::string_view>()(scope);
  for (size_t i = 0; i < prompt.size(); ++i) {
    hash = Mix(hash ^ static_cast<uint32_t>(prompt[i]));
    if ((i + 1) % kRun == 0) chain.push_back(hash);
  }
  return chain;
}

void Affinity::Note(EngineKey engine, const PrefixChain& chain) {
  for (const uint64_t hash : chain) {
    if (young_.size() >= capacity_) {
      old_.swap(young_);
      young_.clear();
    }
    auto [entry, fresh] = young_.try_emplace(hash);
    Engines& engines = entry->second;
    if (fresh) {
      if (const auto before = old_.find(hash); before != old_.end()) engines = before->second;
    }
    auto place = std::ranges::find(engines, engine);
    if (place == engines.end()) place = std::prev(engines.end());
    std::rotate(engines.begin(), place, std::next(place));
    engines.front() = engine;
  }
}

void Affinity::Each(const PrefixChain& chain,
                    const std::function<void(EngineKey, size_t tokens)>& held) const {
  for (size_t i = chain.size(); i > 0; --i) {
    auto entry = young_.find(chain[i - 1]);
    if (entry == young_.end()) {
      entry = old_.find(chain[i - 1]);
      if (entry == old_.end()) continue;
    }
    for (const EngineKey engine : entry->second) {
      if (engine != 0) held(engine, i * kRun);
    }
  }
}

}  // namespace penstock
