// Handover: what was computed of a sequence, between engines (wire::State).
//
// Threads: the engine's.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "engine/models.h"
#include "engine/wire.pb.h"
#include "runner/runner.h"
#include "sched/scheduler.h"

namespace penstock {

// What other engines computed, of requests whose Submit is still to come.
class Arrivals {
 public:
  void Add(const wire::State& state);
  // Gives a sequence that has just been added what came for it, if anything. Where it cannot be taken over,
  // it is computed again.
  void Give(Runner& runner, Scheduler& scheduler, const EngineModel& model, SequenceId sequence,
            uint64_t request, uint32_t choice);
  void Clear() { states_.clear(); }

 private:
  struct State {
    uint32_t tokens = 0;
    std::string bytes;
  };
  std::map<std::pair<uint64_t, uint32_t>, State> states_;  // by request and choice
};

// Sends what was computed of a sequence. Returns the bytes sent; 0: nothing was computed, the runner does not
// give it, or it has more than `most_bytes`.
uint64_t GiveAway(Runner& runner, const LoadedModel& model, const Sequence& sequence, uint64_t request,
                  uint32_t choice, uint64_t most_bytes,
                  const std::function<void(const wire::FromEngine&)>& send);

}  // namespace penstock
