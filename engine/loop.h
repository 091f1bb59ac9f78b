// EngineLoop: turns commands into steps and steps into reports.
//
//   Handle(command) … → Step(): plan → Runner::Submit → emit → one StepReport
//
// Threads: one, the engine's; the runner's callback may come from another.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "engine/output.h"
#include "engine/wire.pb.h"
#include "runner/runner.h"
#include "sched/scheduler.h"

namespace penstock {

class EngineLoop {
 public:
  // `send` gets each message for the gateway; it must not keep the reference.
  using Send = std::function<void(const wire::FromEngine&)>;
  // `runner` must outlive the loop. options.memory_bytes must be resolved (not 0).
  EngineLoop(Runner& runner, const EngineOptions& options, Send send);
  ~EngineLoop();

  void Handle(const wire::ToEngine& command);
  // The gateway is gone: all work is cancelled and nobody is told; models stay.
  void Disconnected();
  // As ToEngine.drain.
  void Drain() { draining_ = true; }

  // One step, if there is work; reports it, and what happened since the last report. False if there was
  // nothing to compute. A load blocks here, and so blocks every model's steps.
  bool Step();

  bool drained() const { return draining_ && requests_.empty(); }
  wire::Load Load() const;

 private:
  struct Model;
  struct Request;
  struct Choice;

  void HandleLoad(const wire::LoadModel& load);
  void HandleUnload(const std::string& name);
  void HandleSubmit(const wire::Submit& submit);
  void HandleCancel(uint64_t request);
  void HandleCredit(const wire::Credit& credit);
  void HandleLimit(const wire::Limit& limit);
  void HandleRelease(const wire::Release& release);
  void HandleState(const wire::State& state);
  void HandleLog(const std::string& word);

  Result<Model> LoadNow(const wire::LoadModel& load);
  void Unload(Model& model, std::string_view why);
  void TellModel(const Model& model);
  void TellLoad();

  Status Start(const wire::Submit& submit);
  void TakeOver(const Model& model, SequenceId sequence, std::string state, uint32_t tokens);
  uint64_t GiveAway(const Request& request, uint32_t choice, uint64_t most_bytes);
  void Refuse(const wire::Submit& submit, const Error& error);
  NewSequence NewChoice(const Model& model, const wire::Submit& submit, uint32_t choice,
                        const wire::Resume* resume) const;
  void EndRequest(Request& request, wire::Finish finish, const Error* error = nullptr);
  void Forget(Request& request);
  void EndChoice(Request& request, size_t choice);

  Result<StepResult> Execute(StepPlan plan);
  void Emit(const StepResult& result);
  void EmitToken(const Sampled& sampled);
  void FailStep(const Error& error);
  void ReportCharges(Nanos chip_time);
  void ReportShape();
  void ReportTurns();
  void SendReport();
  wire::TokenEvent* AddEvent(Request& request, size_t choice);

  Runner& runner_;
  const EngineOptions options_;
  const Send send_;
  Scheduler scheduler_;
  std::map<std::string, std::unique_ptr<Model>> models_;
  std::unordered_map<uint64_t, std::unique_ptr<Request>> requests_;
  // What another engine computed, of requests whose Submit is still to come: by request and choice.
  struct Arriving {
    uint32_t tokens = 0;
    std::string bytes;
  };
  std::map<std::pair<uint64_t, uint32_t>, Arriving> arriving_;
  std::unordered_map<SequenceId, std::pair<Request*, size_t>> choices_;  // whose choice a sequence is
  wire::FromEngine message_;  // kept, so that its memory is used again
  wire::StepReport* report_;  // in message_: what happened since the last report
  std::vector<Request*> charged_;
  uint64_t steps_ = 0, resident_bytes_ = 0;
  bool draining_ = false;
};

}  // namespace penstock
