#include "engine/report.h"

#include <utility>

#include "engine/memory.h"

namespace penstock {
namespace {

constexpr uint64_t kStepsBetweenMeasures = 64;

wire::Note::Kind ToNote(Turn turn) {
  switch (turn) {
    case Turn::kAdmitted:
      return wire::Note::ADMITTED;
    case Turn::kPreempted:
      return wire::Note::PREEMPTED;
    case Turn::kResumed:
      return wire::Note::RESUMED;
    case Turn::kStarved:
      return wire::Note::STARVED;
  }
  return wire::Note::ADMITTED;
}

}  // namespace

wire::TokenEvent& Report::Add(uint64_t request, size_t choice) {
  wire::TokenEvent& event = *step_->add_tokens();
  event.set_request(request);
  event.set_choice(static_cast<uint32_t>(choice));
  return event;
}

void Report::Begin() {
  if (steps_++ % kStepsBetweenMeasures == 0) resident_bytes_ = ResidentBytes();
  step_->set_step(steps_);
}

void Report::Computed(const ChoiceOwners& owners, Nanos chip_time) {
  if (scheduler_.work().empty()) return;  // it gave memory back, nothing else
  Charge(owners, chip_time);
  Shape(owners);
}

void Report::Charge(const ChoiceOwners& owners, Nanos chip_time) {
  step_->set_chip_ns(static_cast<uint64_t>(chip_time));
  charged_.clear();
  uint64_t total = 0;
  for (const Scheduler::Work& work : scheduler_.work()) {
    EngineRequest* request = owners.at(work.id).first;
    if (request->step_tokens == 0) charged_.push_back(request);
    request->step_tokens += static_cast<uint32_t>(work.tokens);
    total += static_cast<uint64_t>(work.tokens);
  }
  uint64_t tokens = 0, given = 0;
  for (EngineRequest* request : charged_) {
    wire::Charge* charge = step_->add_charges();
    charge->set_request(request->id);
    charge->set_computed(request->step_tokens);
    tokens += std::exchange(request->step_tokens, 0);
    const auto until = static_cast<uint64_t>(static_cast<unsigned __int128>(chip_time) * tokens / total);
    charge->set_chip_ns(until - std::exchange(given, until));
  }
}

// Before the sampled tokens are told of: a sequence that ends with one is forgotten.
void Report::Shape(const ChoiceOwners& owners) {
  uint32_t prefill = 0, decode = 0;
  uint64_t context = 0;
  for (const Scheduler::Work& work : scheduler_.work()) {
    prefill += static_cast<uint32_t>(work.tokens) - (work.sample ? 1 : 0);
    decode += work.sample ? 1 : 0;
    if (work.sample) context += static_cast<uint64_t>(scheduler_.Find(work.id)->computed);
  }
  step_->set_prefill(prefill);
  step_->set_decode(decode);
  step_->set_context(context);
  if (!scheduler_.work().empty()) {
    step_->set_model(owners.at(scheduler_.work().front().id).first->model->state.name());
  }
}

void Report::Turns(const ChoiceOwners& owners) {
  for (const auto& [sequence, turn] : scheduler_.TakeTurns()) {
    const auto [request, choice] = owners.at(sequence);
    wire::Note* note = step_->add_notes();
    note->set_request(request->id);
    note->set_choice(static_cast<uint32_t>(choice));
    note->set_kind(ToNote(turn));
  }
}

void Report::Flush() {
  if (step_->tokens().empty() && step_->charges().empty() && step_->notes().empty()) return;
  *step_->mutable_load() = Load();
  send_(message_);
  step_->Clear();
}

void Report::TellLoad() {
  wire::FromEngine message;
  resident_bytes_ = ResidentBytes();
  *message.mutable_heartbeat()->mutable_load() = Load();
  message.mutable_heartbeat()->set_steps(steps_);
  send_(message);
}

wire::Load Report::Load() const {
  const SchedulerStats stats = scheduler_.Stats();
  wire::Load load;
  load.set_running(stats.running);
  load.set_waiting(stats.waiting);
  load.set_free_pages(stats.free_pages);
  load.set_cached_pages(stats.cached_pages);
  load.set_resident_bytes(resident_bytes_);
  load.set_preemptions(stats.preemptions);
  load.set_restored_tokens(stats.restored_tokens);
  load.set_prefix_hit_tokens(stats.prefix_hit_tokens);
  load.set_computed_tokens(stats.computed_tokens);
  return load;
}

}  // namespace penstock
