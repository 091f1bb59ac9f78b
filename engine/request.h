// Request: what the engine's loop keeps of a request while it runs. Plain data.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/models.h"
#include "engine/output.h"
#include "runner/step.h"

namespace penstock {

struct EngineChoice {
  SequenceId sequence = 0;  // 0: ended
  Output output;
};

struct EngineRequest {
  uint64_t id = 0;
  const EngineModel* model = nullptr;
  OutputRules rules;
  std::vector<EngineChoice> choices;
  size_t open = 0;           // choices that have not ended
  uint64_t limit = 0;        // Submit.limit
  uint32_t step_tokens = 0;  // computed for it in the step under way

  bool limit_reached() const {
    if (limit == 0) return false;
    uint64_t emitted = 0;
    for (const EngineChoice& choice : choices) emitted += choice.output.emitted();
    return emitted >= limit;
  }
};

// Whose choice a sequence is.
using ChoiceOwners = std::unordered_map<SequenceId, std::pair<EngineRequest*, size_t>>;

}  // namespace penstock
