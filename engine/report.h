// Report: what the engine tells the gateway of a step, gathered until it is sent as one message.
//
// Threads: the engine's.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "engine/request.h"
#include "engine/wire.pb.h"
#include "sched/scheduler.h"

namespace penstock {

class Report {
 public:
  using Send = std::function<void(const wire::FromEngine&)>;
  // `scheduler` must outlive this. `send` must not keep the reference.
  Report(Scheduler& scheduler, Send send)
      : scheduler_(scheduler), send_(std::move(send)), step_(message_.mutable_step()) {}

  wire::StepReport& step() { return *step_; }
  wire::TokenEvent& Add(uint64_t request, size_t choice);

  // Before a step's work: counts it.
  void Begin();
  // The step's chip time by tokens computed (the parts add up exactly), and what it computed.
  void Computed(const ChoiceOwners& owners, Nanos chip_time);
  // Turns since the last call. REQUIRES: every sequence that they name has its owner still.
  void Turns(const ChoiceOwners& owners);
  // Sends what there is, if anything.
  void Flush();
  // Forgets what was not sent.
  void Clear() { step_->Clear(); }
  // Where no step's report tells it: before a model's first request, and when work is gone.
  void TellLoad();
  void Tell(const wire::FromEngine& message) { send_(message); }

  wire::Load Load() const;
  uint64_t steps() const { return steps_; }

 private:
  void Charge(const ChoiceOwners& owners, Nanos chip_time);
  void Shape(const ChoiceOwners& owners);

  Scheduler& scheduler_;
  const Send send_;
  wire::FromEngine message_;  // kept, so that its memory is used again
  wire::StepReport* const step_;
  std::vector<EngineRequest*> charged_;
  uint64_t steps_ = 0, resident_bytes_ = 0;
};

}  // namespace penstock
