#include "sim/planner_engine.h"

#include <fmt/format.h>

#include <utility>

#include "engine/wire_error.h"

namespace penstock {

PlannerEngine::PlannerEngine(Options options)
    : options_(std::move(options)),
      runner_(MakeFakeRunner(options_.runner)),
      scheduler_({.max_sequences = options_.slots, .step_tokens = 128}) {}

wire::FromEngine PlannerEngine::Hello() const {
  wire::FromEngine message;
  wire::Hello& hello = *message.mutable_hello();
  hello.set_protocol(1);
  hello.set_engine(options_.name);
  hello.set_runner("fake");
  hello.set_contract("fake");
  hello.set_max_sequences(static_cast<uint32_t>(options_.slots));
  hello.mutable_abilities()->set_resume(true);
  hello.mutable_abilities()->set_reclaim(true);
  return message;
}

void PlannerEngine::Obey(const wire::ToEngine& message) {
  switch (message.kind_case()) {
    case wire::ToEngine::kLoad:
      return Load(message.load());
    case wire::ToEngine::kSubmit:
      return Submit(message.submit());
    case wire::ToEngine::kCancel:
      return Cancel(message.cancel().request());
    case wire::ToEngine::kCredit:
      if (const auto sequence = Find(message.credit().request()))
        scheduler_.Grant(*sequence, message.credit().tokens());
      return;
    default:
      return;  // nothing else is asked of it
  }
}

void PlannerEngine::Load(const wire::LoadModel& load) {
  model_ = *runner_->Load({.path = fmt::format("fake:m?pages={}", options_.pages)});
  model_name_ = load.name();
  scheduler_.AddModel(model_);
  wire::FromEngine message;
  wire::ModelState& state = *message.mutable_model();
  state.set_name(load.name());
  state.set_path(load.path());
  state.set_state(wire::ModelState::READY);
  state.set_context(static_cast<uint32_t>(LongestSequence(model_)));
  outbox_.push_back(message);
  wire::FromEngine beat;
  beat.mutable_heartbeat()->mutable_load()->set_free_pages(free_pages());
  outbox_.push_back(std::move(beat));
}

void PlannerEngine::Submit(const wire::Submit& submit) {
  std::vector<Token> known(submit.prompt().begin(), submit.prompt().end());
  int64_t credits = submit.credits() > 0 ? int64_t{submit.credits()} : -1;
  uint32_t emitted = 0;
  if (submit.resume_size() > 0) {
    const wire::Resume& resume = submit.resume(0);
    known.insert(known.end(), resume.ids().begin(), resume.ids().end());
    emitted = static_cast<uint32_t>(resume.ids_size());
    if (credits >= 0) credits = resume.credits();
  }
  const auto sequence = scheduler_.Add({.model = model_.id,
                                        .prompt = std::move(known),
                                        .generated = static_cast<int32_t>(emitted),
                                        .max_tokens = int64_t{submit.max_tokens()} - emitted,
                                        .sampling = {},
                                        .prefix_scope = submit.prefix_scope(),
                                        .credits = credits});
  if (sequence) {
    requests_[*sequence] = {.id = submit.request(), .emitted = emitted, .max_tokens = submit.max_tokens()};
    return;
  }
  wire::FromEngine message;
  wire::TokenEvent& event = *message.mutable_step()->add_tokens();
  event.set_request(submit.request());
  event.set_finish(wire::ERROR);
  SetError(sequence.error(), event);
  outbox_.push_back(std::move(message));
}

void PlannerEngine::Cancel(uint64_t id) {
  const auto sequence = Find(id);
  if (!sequence) return;
  Forget(*sequence);
  wire::FromEngine message;
  wire::TokenEvent& event = *message.mutable_step()->add_tokens();
  event.set_request(id);
  event.set_finish(wire::CANCELLED);
  Report(*message.mutable_step());
  outbox_.push_back(std::move(message));
}

std::optional<SequenceId> PlannerEngine::Find(uint64_t id) const {
  for (const auto& [sequence, request] : requests_) {
    if (request.id == id) return sequence;
  }
  return std::nullopt;
}

void PlannerEngine::Forget(SequenceId sequence) {
  scheduler_.Finish(sequence);
  requests_.erase(sequence);
}

std::optional<Nanos> PlannerEngine::Begin() {
  for (const wire::ToEngine& message : std::exchange(inbox_, {})) Obey(message);
  auto plan = scheduler_.Next();
  scheduler_.CheckIntegrity();
  if (!plan) return std::nullopt;
  stepping_ = true;
  runner_->Submit(*std::move(plan), [this](Result<StepResult> done) { result_ = std::move(done); });
  return result_ ? result_->chip_time : options_.runner.step_time;
}

Status PlannerEngine::End() {
  stepping_ = false;
  wire::FromEngine message;
  wire::StepReport& report = *message.mutable_step();
  Note(report);
  failed_ = !result_;
  if (failed_) {
    scheduler_.Abort();
    Fail({Code::kInternal, "a step failed: " + result_.error().message, Reason::kEngineGaveUp}, report);
  } else {
    PENSTOCK_TRY(scheduler_.Commit(*result_));
    Charge(result_->chip_time, report);
    for (const Sampled& sampled : result_->sampled) Emit(sampled, report);
  }
  scheduler_.CheckIntegrity();
  Report(report);
  outbox_.push_back(std::move(message));
  return {};
}

void PlannerEngine::Note(wire::StepReport& report) {
  for (const auto& [sequence, turn] : scheduler_.TakeTurns()) {
    const auto request = requests_.find(sequence);
    if (request == requests_.end()) continue;
    wire::Note& note = *report.add_notes();
    note.set_request(request->second.id);
    note.set_kind(turn == Turn::kAdmitted    ? wire::Note::ADMITTED
                  : turn == Turn::kPreempted ? wire::Note::PREEMPTED
                  : turn == Turn::kResumed   ? wire::Note::RESUMED
                                             : wire::Note::STARVED);
  }
}

// Each request's part of the step, by tokens computed.
void PlannerEngine::Charge(Nanos took, wire::StepReport& report) {
  int64_t total = 0, tokens = 0;
  uint64_t context = 0;
  uint32_t decode = 0;
  for (const Scheduler::Work& work : scheduler_.work()) total += work.tokens;
  Nanos given = 0;
  for (const Scheduler::Work& work : scheduler_.work()) {
    tokens += work.tokens;
    const Nanos until = took * tokens / total;
    wire::Charge& charge = *report.add_charges();
    charge.set_request(requests_.at(work.id).id);
    charge.set_chip_ns(static_cast<uint64_t>(until - std::exchange(given, until)));
    charge.set_computed(static_cast<uint32_t>(work.tokens));
    if (!work.sample) continue;
    ++decode;
    context += static_cast<uint64_t>(scheduler_.Find(work.id)->known());
  }
  report.set_chip_ns(static_cast<uint64_t>(took));
  report.set_model(model_name_);
  report.set_prefill(static_cast<uint32_t>(total) - decode);
  report.set_decode(decode);
  report.set_context(context);
  chip_time_ += took;
}

void PlannerEngine::Emit(const Sampled& sampled, wire::StepReport& report) {
  Request& request = requests_.at(sampled.sequence);
  wire::TokenEvent& event = *report.add_tokens();
  event.set_request(request.id);
  event.set_new_tokens(1);
  event.add_ids(sampled.token);
  event.set_emitted(++request.emitted);
  if (request.emitted < request.max_tokens) return;
  event.set_finish(wire::LENGTH);
  Forget(sampled.sequence);
}

void PlannerEngine::Fail(const Error& error, wire::StepReport& report) {
  for (const Scheduler::Work& work : scheduler_.work()) {
    wire::TokenEvent& event = *report.add_tokens();
    event.set_request(requests_.at(work.id).id);
    event.set_finish(wire::ERROR);
    SetError(error, event);
    Forget(work.id);
  }
}

void PlannerEngine::Report(wire::StepReport& report) const {
  const SchedulerStats stats = scheduler_.Stats();
  wire::Load& load = *report.mutable_load();
  load.set_running(stats.running);
  load.set_waiting(stats.waiting);
  load.set_free_pages(stats.free_pages);
  load.set_cached_pages(stats.cached_pages);
  load.set_preemptions(stats.preemptions);
}

}  // namespace penstock
