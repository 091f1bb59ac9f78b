// PlannerEngine: an engine of the simulated cloud: the real scheduler and planner over a fake runner, behind
// the messages of engine/wire.proto. It obeys between steps, as engine/loop.cc does; time passes outside of
// it.
//
// Requests have one choice. Threads: one.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "engine/wire.pb.h"
#include "runner/fake.h"
#include "sched/scheduler.h"

namespace penstock {

class PlannerEngine {
 public:
  struct Options {
    std::string name;
    int32_t slots = 8, pages = 96;
    FakeOptions runner;
  };
  explicit PlannerEngine(Options options);

  // ---- messages ----

  wire::FromEngine Hello() const;
  // To be obeyed before the next step.
  void Hear(const wire::ToEngine& message) { inbox_.push_back(message); }
  // What it says, in order. Empty when all was taken.
  std::vector<wire::FromEngine> TakeMessages() { return std::exchange(outbox_, {}); }

  // ---- steps ----

  bool stepping() const { return stepping_; }
  // Obeys, and begins a step if there is something to compute. Returns how long it will take.
  // REQUIRES: no step is under way.
  std::optional<Nanos> Begin();
  // Errors: kInternal, the planner and the runner disagree. REQUIRES: a step is under way.
  Status End();

  uint64_t preemptions() const { return scheduler_.Stats().preemptions; }
  uint32_t free_pages() const { return scheduler_.Stats().free_pages; }
  Nanos chip_time() const { return chip_time_; }  // of all steps that ended well
  bool last_step_failed() const { return failed_; }

 private:
  struct Request {
    uint64_t id = 0;
    uint32_t emitted = 0, max_tokens = 0;
  };

  void Obey(const wire::ToEngine& message);
  void Load(const wire::LoadModel& load);
  void Submit(const wire::Submit& submit);
  void Cancel(uint64_t id);
  std::optional<SequenceId> Find(uint64_t id) const;
  void Forget(SequenceId sequence);
  void Note(wire::StepReport& report);
  void Charge(Nanos took, wire::StepReport& report);
  void Emit(const Sampled& sampled, wire::StepReport& report);
  void Fail(const Error& error, wire::StepReport& report);
  void Report(wire::StepReport& report) const;

  const Options options_;
  std::unique_ptr<Runner> runner_;
  Scheduler scheduler_;
  LoadedModel model_;
  std::string model_name_;
  std::map<SequenceId, Request> requests_;
  std::deque<wire::ToEngine> inbox_;
  std::vector<wire::FromEngine> outbox_;
  bool stepping_ = false, failed_ = false;
  Result<StepResult> result_;  // of the step under way
  Nanos chip_time_ = 0;
};

}  // namespace penstock
