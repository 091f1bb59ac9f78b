#include "engine/loop.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/log_level.h"
#include "engine/submission.h"
#include "engine/wire_error.h"
#include "runner/execute.h"

namespace penstock {
EngineLoop::EngineLoop(Runner& runner, const EngineOptions& options, Report::Send send,
                       std::function<void()> wake)
    : runner_(runner),
      name_(options.name),
      scheduler_({.max_sequences = static_cast<int32_t>(options.max_sequences),
                  .step_tokens = options.step_tokens,
                  .prefix_cache = options.prefix_cache}),
      report_(scheduler_, std::move(send)),
      models_(runner, scheduler_, options,
              {.tell = [this](const wire::ModelState& state) { TellModel(state); },
               .leaving = [this](const EngineModel& model, std::string_view why) { EndAll(model, why); },
               .wake = std::move(wake)}) {}

void EngineLoop::Handle(const wire::ToEngine& command) {
  switch (command.kind_case()) {
    case wire::ToEngine::kLoad:
      return models_.Load(command.load());
    case wire::ToEngine::kUnload:
      return models_.Unload(command.unload().name());
    case wire::ToEngine::kSubmit:
      return HandleSubmit(command.submit());
    case wire::ToEngine::kCancel:
      return HandleCancel(command.cancel().request());
    case wire::ToEngine::kCredit:
      return HandleCredit(command.credit());
    case wire::ToEngine::kLimit:
      return HandleLimit(command.limit());
    case wire::ToEngine::kDrain:
      return Drain();
    case wire::ToEngine::kBatch:
      for (const wire::ToEngine& one : command.batch().messages()) {
        if (!one.has_batch()) Handle(one);  // a batch holds no batches: no depth to guard
      }
      return;
    case wire::ToEngine::kLog:
      return HandleLog(command.log().level());
    case wire::ToEngine::kRelease:
      return HandleRelease(command.release());
    case wire::ToEngine::kState:
      return arrivals_.Add(command.state());
    case wire::ToEngine::kWelcome:
    case wire::ToEngine::KIND_NOT_SET:
      return;
  }
}

void EngineLoop::HandleLog(const std::string& word) {
  const auto level = ParseLogLevel(word);
  if (!level) return spdlog::warn("the gateway asks for an unknown log level: {}", level.error().message);
  if (*level == spdlog::get_level()) return;
  spdlog::info("the log level is now {}", word);
  spdlog::set_level(*level);
}

void EngineLoop::Disconnected() {
  for (const auto& [sequence, owner] : choices_) scheduler_.Finish(sequence);
  choices_.clear();
  requests_.clear();
  arrivals_.Clear();
  scheduler_.TakeTurns();
  report_.Clear();
  report_.TellLoad();
}

// With the load first: the gateway counts on a model's pages as soon as it is READY.
void EngineLoop::TellModel(const wire::ModelState& state) {
  if (state.state() != wire::ModelState::LOADING) report_.TellLoad();
  wire::FromEngine message;
  *message.mutable_model() = state;
  report_.Tell(message);
}

// ---- requests ----

void EngineLoop::HandleSubmit(const wire::Submit& submit) {
  if (auto started = Start(submit); !started) Refuse(submit, started.error(), report_.step());
  arrivals_.Clear();  // a submission follows its states at once: nobody will ask for what is left
}

Status EngineLoop::Start(const wire::Submit& submit) {
  const EngineModel* model = models_.Find(submit.model());
  PENSTOCK_TRY(CheckSubmit(submit, {.engine = name_,
                                    .draining = draining_,
                                    .model_ready = model != nullptr,
                                    .running = requests_.contains(submit.request())}));
  auto owned = std::make_unique<EngineRequest>();
  EngineRequest& request = *owned;
  request.id = submit.request();
  request.model = model;
  request.limit = submit.limit();
  request.rules = RulesOf(submit, model->pieces);
  if (auto added = AddChoices(request, submit); !added) {
    Forget(request);
    return added;
  }
  spdlog::debug("request {} of {}: {} prompt tokens, {} choices of at most {} tokens", request.id,
                submit.model(), submit.prompt_size(), request.choices.size(), submit.max_tokens());
  requests_.emplace(request.id, std::move(owned));
  if (request.limit_reached()) EndRequest(request, wire::LENGTH);
  return {};
}

Status EngineLoop::AddChoices(EngineRequest& request, const wire::Submit& submit) {
  SequenceId lead = 0;
  for (const wire::Resume* resume : ResumesOf(submit)) {
    const auto index = static_cast<uint32_t>(request.choices.size());
    EngineChoice& choice =
        request.choices.emplace_back(EngineChoice{.sequence = 0, .output = Output(&request.rules)});
    if (resume != nullptr)
      choice.output.Replay({resume->ids().data(), static_cast<size_t>(resume->ids_size())});
    if (resume != nullptr && resume->ended()) continue;
    NewSequence sequence = ToSequence(request.model->loaded.id, submit, index, resume);
    const bool fresh = sequence.generated == 0;
    if (fresh) sequence.lead = lead;
    PENSTOCK_ASSIGN(choice.sequence, scheduler_.Add(std::move(sequence)));
    if (lead == 0 && fresh) lead = choice.sequence;
    choices_[choice.sequence] = {&request, index};
    arrivals_.Give(runner_, scheduler_, *request.model, choice.sequence, request.id, index);
    ++request.open;
  }
  if (request.open == 0) return Fail(Code::kInvalid, "nothing of the request is left to do");
  return {};
}

void EngineLoop::HandleCancel(uint64_t request) {
  if (const auto it = requests_.find(request); it != requests_.end())
    EndRequest(*it->second, wire::CANCELLED);
}

void EngineLoop::HandleCredit(const wire::Credit& credit) {
  const auto it = requests_.find(credit.request());
  if (it == requests_.end() || credit.choice() >= it->second->choices.size()) return;
  const SequenceId sequence = it->second->choices[credit.choice()].sequence;
  if (sequence != 0) scheduler_.Grant(sequence, credit.tokens());
}

void EngineLoop::HandleLimit(const wire::Limit& limit) {
  const auto it = requests_.find(limit.request());
  if (it == requests_.end()) return;
  EngineRequest& request = *it->second;
  request.limit = Lowered(request.limit, limit);
  if (request.limit_reached()) EndRequest(request, wire::LENGTH);
}

void EngineLoop::HandleRelease(const wire::Release& release) {
  const auto it = requests_.find(release.request());
  if (it == requests_.end()) return;  // its end is on its way
  EngineRequest& request = *it->second;
  report_.Turns(choices_);
  report_.Flush();  // nothing of it comes after Released
  uint64_t left = release.most_bytes();
  const auto send = [this](const wire::FromEngine& message) { report_.Tell(message); };
  for (uint32_t i = 0; i < request.choices.size(); ++i) {
    const Sequence* sequence = scheduler_.Find(request.choices[i].sequence);
    if (sequence != nullptr)
      left -= GiveAway(runner_, request.model->loaded, *sequence, request.id, i, left, send);
  }
  spdlog::debug("request {} moves to another engine", request.id);
  Forget(request);
  requests_.erase(it);
  report_.TellLoad();
  wire::FromEngine message;
  message.mutable_released()->set_request(release.request());
  report_.Tell(message);
}

// Of a request that could not be started whole, or is not this engine's any more.
void EngineLoop::Forget(EngineRequest& request) {
  for (const EngineChoice& choice : request.choices) {
    if (choice.sequence == 0) continue;
    choices_.erase(choice.sequence);
    scheduler_.Finish(choice.sequence);
  }
}

void EngineLoop::EndAll(const EngineModel& model, std::string_view why) {
  std::vector<EngineRequest*> ended;
  for (const auto& [id, request] : requests_) {
    if (request->model == &model) ended.push_back(request.get());
  }
  const Error error{Code::kUnavailable, fmt::format("model {} {}", model.state.name(), why),
                    Reason::kModelNotReady};
  for (EngineRequest* request : ended) EndRequest(*request, wire::ERROR, &error);
}

void EngineLoop::EndRequest(EngineRequest& request, wire::Finish finish, const Error* error) {
  for (size_t i = 0, count = request.choices.size(); i < count; ++i) {
    EngineChoice& choice = request.choices[i];
    if (choice.sequence == 0) continue;
    wire::TokenEvent& event = report_.Add(request.id, i);
    choice.output.End(finish, event);
    if (error != nullptr) SetError(*error, event);
    const bool last = request.open == 1;
    EndChoice(request, i);
    if (last) return;  // `request` is gone
  }
}

void EngineLoop::EndChoice(EngineRequest& request, size_t choice) {
  const SequenceId sequence = std::exchange(request.choices[choice].sequence, 0);
  report_.Turns(choices_);  // before the sequence they name is forgotten
  choices_.erase(sequence);
  scheduler_.Finish(sequence);
  if (--request.open > 0) return;
  spdlog::debug("request {} ended", request.id);
  requests_.erase(request.id);
}

// ---- steps ----

bool EngineLoop::Step() {
  models_.Finish();
  auto plan = scheduler_.Next();
  report_.Turns(choices_);
  if (plan) {
    report_.Begin();
    auto result = Execute(runner_, *std::move(plan));
    const Status committed = result ? scheduler_.Commit(*result) : Status(std::unexpected(result.error()));
    if (committed) {
      spdlog::trace("step {}: {} sequences, {} us", report_.steps(), scheduler_.work().size(),
                    result->chip_time / kMicrosecond);
      report_.Computed(choices_, result->chip_time);
      for (const Sampled& sampled : result->sampled) Emit(sampled);
    } else {
      FailStep(committed.error());
    }
  }
  report_.Flush();
  return plan.has_value();
}

void EngineLoop::Emit(const Sampled& sampled) {
  const auto owner = choices_.find(sampled.sequence);
  if (owner == choices_.end()) return;  // another choice of its request has just reached their limit
  const auto [request, choice] = owner->second;
  Output& output = request->choices[choice].output;
  wire::TokenEvent& event = report_.Add(request->id, choice);
  if (output.emitted() == 0) {
    event.set_cached_tokens(static_cast<uint32_t>(scheduler_.Find(sampled.sequence)->cached_tokens));
  }
  output.Take(sampled, event);
  const bool limit_reached = request->limit_reached(), last = request->open == 1;
  if (limit_reached && event.finish() == wire::NONE) output.End(wire::LENGTH, event);
  if (event.finish() != wire::NONE) EndChoice(*request, choice);
  if (limit_reached && !last) EndRequest(*request, wire::LENGTH);
}

// A fault of the runner ends the sequences of its step, and nothing else.
void EngineLoop::FailStep(const Error& error) {
  spdlog::error("step {} failed: {}", report_.steps(), error.message);
  const Error gave_up{Code::kInternal, error.message, Reason::kEngineGaveUp};
  std::vector<SequenceId> failed;
  for (const Scheduler::Work& work : scheduler_.work()) failed.push_back(work.id);
  scheduler_.Abort();
  for (const SequenceId sequence : failed) {
    const auto it = choices_.find(sequence);
    if (it == choices_.end()) continue;  // another choice of its request ended it
    EndRequest(*it->second.first, wire::ERROR, &gave_up);
  }
}

}  // namespace penstock
