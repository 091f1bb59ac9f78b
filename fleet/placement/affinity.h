// Affinity: which engines computed which beginnings of prompts lately, as far as the gateway can know.
//
// A prompt is cut into runs of kRun tokens; each run's hash covers everything before it, the model and the
// scope within which prefixes are shared. Engines evict as they must and tell nobody, so an entry is a guess;
// it costs no more than a prompt computed again.
//
// Memory: at most twice `capacity` entries. Pure and deterministic. Threads: one.
#pragma once

#include <array>
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "fleet/placement/engine_key.h"

namespace penstock {

// Hashes of the beginnings of one prompt, shortest first.
using PrefixChain = std::vector<uint64_t>;

class Affinity {
 public:
  static constexpr size_t kRun = 64;

  explicit Affinity(size_t capacity = 1 << 16) : capacity_(capacity) {}

  // Empty where nothing is shared: no scope.
  static PrefixChain Chain(std::string_view model, std::string_view scope, std::span<const int32_t> prompt);

  void Note(EngineKey engine, const PrefixChain& chain);
  // Calls `held(engine, tokens)` for engines that computed a beginning; the longest of each comes first.
  void Each(const PrefixChain& chain, const std::function<void(EngineKey, size_t tokens)>& held) const;

 private:
  using Engines = std::array<EngineKey, 4>;  // the latest first; 0: none
  using Table = boost::unordered_flat_map<uint64_t, Engines>;

  size_t capacity_;
  Table young_, old_;  // when the young are full they become the old, and those are forgotten
};

}  // namespace penstock
