// EngineLoop: turns commands into steps and steps into reports.
//
//   Handle(command) … → Step(): plan → Runner::Submit → emit → one StepReport
//
// Models load beside it (engine/models.h); requests are checked by engine/submission.h; what a step did is
// told by engine/report.h; a request's way to another engine is engine/handover.h.
//
// Threads: one, the engine's; the runner's callback, and `wake`, may come from another.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

#include "engine/engine.h"
#include "engine/handover.h"
#include "engine/models.h"
#include "engine/report.h"
#include "engine/request.h"
#include "engine/wire.pb.h"
#include "runner/runner.h"
#include "sched/scheduler.h"

namespace penstock {

class EngineLoop {
 public:
  // `send` gets each message for the gateway; it must not keep the reference. `wake`: Step is to be called
  // soon, whether or not it said that there was nothing to compute; a model was loaded. `runner` must outlive
  // the loop. options.memory_bytes must be resolved (not 0).
  EngineLoop(
      Runner& runner, const EngineOptions& options, Report::Send send, std::function<void()> wake = [] {});

  void Handle(const wire::ToEngine& command);
  // The gateway is gone: all work is cancelled and nobody is told; models stay.
  void Disconnected();
  // As ToEngine.drain.
  void Drain() { draining_ = true; }

  // One step, if there is work; reports it, and what happened since the last report. False if there was
  // nothing to compute.
  bool Step();
  // Blocks until no model is being loaded. For tests and benches.
  void FinishLoads() { models_.Finish(/*wait=*/true); }

  bool drained() const { return draining_ && requests_.empty(); }
  wire::Load Load() const { return report_.Load(); }

 private:
  void HandleSubmit(const wire::Submit& submit);
  void HandleCancel(uint64_t request);
  void HandleCredit(const wire::Credit& credit);
  void HandleLimit(const wire::Limit& limit);
  void HandleRelease(const wire::Release& release);
  void HandleLog(const std::string& word);
  void TellModel(const wire::ModelState& state);

  Status Start(const wire::Submit& submit);
  Status AddChoices(EngineRequest& request, const wire::Submit& submit);
  void EndAll(const EngineModel& model, std::string_view why);
  void EndRequest(EngineRequest& request, wire::Finish finish, const Error* error = nullptr);
  void EndChoice(EngineRequest& request, size_t choice);
  void Forget(EngineRequest& request);

  void Emit(const Sampled& sampled);
  void FailStep(const Error& error);

  Runner& runner_;
  const std::string name_;
  Scheduler scheduler_;
  Report report_;
  EngineModels models_;
  Arrivals arrivals_;
  std::unordered_map<uint64_t, std::unique_ptr<EngineRequest>> requests_;
  ChoiceOwners choices_;
  bool draining_ = false;
};

}  // namespace penstock
