#include "engine/loop.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <optional>

#include "base/check.h"
#include "base/log_level.h"
#include "engine/memory.h"
#include "engine/wire_error.h"

namespace penstock {
namespace {

constexpr uint32_t kMaxChoices = 128, kStepsBetweenMeasures = 64;
constexpr size_t kStatePart = 1 << 20;  // bytes of one message

Sampling ToSampling(const wire::SamplingSpec& spec) {
  Sampling sampling{
      .temperature = spec.temperature(),
      .top_k = spec.top_k(),
      .top_p = spec.top_p(),
      .min_p = spec.min_p(),
      .repetition_penalty = spec.repetition_penalty() == 0 ? 1 : spec.repetition_penalty(),
      .presence_penalty = spec.presence_penalty(),
      .frequency_penalty = spec.frequency_penalty(),
      .logit_bias = {},
      .seed = spec.seed(),
      .top_logprobs = spec.top_logprobs(),
  };
  const int biases = std::min(spec.bias_tokens_size(), spec.bias_values_size());
  for (int i = 0; i < biases; ++i) sampling.logit_bias.emplace_back(spec.bias_tokens(i), spec.bias_values(i));
  return sampling;
}

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

struct EngineLoop::Model {
  wire::ModelState state;
  LoadedModel loaded;  // of a READY one
  std::shared_ptr<const Pieces> pieces;
  int64_t bytes() const { return loaded.weight_bytes + loaded.page_bytes * loaded.pages; }
};

struct EngineLoop::Choice {
  SequenceId sequence = 0;  // 0: ended
  Output output;
};

struct EngineLoop::Request {
  uint64_t id = 0;
  const Model* model = nullptr;
  OutputRules rules;
  std::vector<Choice> choices;
  size_t open = 0;           // choices that have not ended
  uint64_t limit = 0;        // most output tokens of all choices together; 0: none
  uint32_t step_tokens = 0;  // computed for it in the step under way

  bool limit_reached() const {
    if (limit == 0) return false;
    uint64_t emitted = 0;
    for (const Choice& choice : choices) emitted += choice.output.emitted();
    return emitted >= limit;
  }
};

EngineLoop::EngineLoop(Runner& runner, const EngineOptions& options, Send send)
    : runner_(runner),
      options_(options),
      send_(std::move(send)),
      scheduler_({.max_sequences = static_cast<int32_t>(options.max_sequences),
                  .step_tokens = options.step_tokens,
                  .prefix_cache = options.prefix_cache}),
      report_(message_.mutable_step()) {}

EngineLoop::~EngineLoop() = default;

void EngineLoop::Handle(const wire::ToEngine& command) {
  switch (command.kind_case()) {
    case wire::ToEngine::kLoad:
      return HandleLoad(command.load());
    case wire::ToEngine::kUnload:
      return HandleUnload(command.unload().name());
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
      return HandleState(command.state());
    case wire::ToEngine::kWelcome:
    case wire::ToEngine::KIND_NOT_SET:
      return;
  }
}

void EngineLoop::HandleLog(const std::string& word) {
  const auto level = ParseLogLevel(word);
  if (!level) return spdlog::warn("the gateway asks for a log level that is none: {}", level.error().message);
  if (*level == spdlog::get_level()) return;
  spdlog::info("the log level is {} from here on", word);
  spdlog::set_level(*level);
}

void EngineLoop::Disconnected() {
  for (const auto& [sequence, owner] : choices_) scheduler_.Finish(sequence);
  choices_.clear();
  requests_.clear();
  arriving_.clear();
  scheduler_.TakeTurns();
  report_->Clear();
  TellLoad();
}

// ---- models ----

void EngineLoop::TellModel(const Model& model) {
  wire::FromEngine message;
  *message.mutable_model() = model.state;
  send_(message);
}

// Where no step's report does: before a model's first request, and when work is gone.
void EngineLoop::TellLoad() {
  wire::FromEngine message;
  resident_bytes_ = ResidentBytes();
  *message.mutable_heartbeat()->mutable_load() = Load();
  message.mutable_heartbeat()->set_steps(steps_);
  send_(message);
}

void EngineLoop::HandleLoad(const wire::LoadModel& load) {
  auto& slot = models_[load.name()];
  if (slot && slot->state.state() == wire::ModelState::READY && slot->state.path() == load.path()) {
    return TellModel(*slot);
  }
  if (slot) Unload(*slot, "is being replaced");
  slot = std::make_unique<Model>();
  slot->state.set_name(load.name());
  slot->state.set_path(load.path());
  slot->state.set_state(wire::ModelState::LOADING);
  TellModel(*slot);
  if (auto loaded = LoadNow(load)) {
    *slot = *std::move(loaded);
    scheduler_.AddModel(slot->loaded);
    spdlog::info("model {} is ready: {} MB of weights, {} pages of {} KB, kernel {}", load.name(),
                 slot->loaded.weight_bytes >> 20, slot->loaded.pages, slot->loaded.page_bytes >> 10,
                 slot->loaded.kernel);
  } else {
    slot->state.set_state(wire::ModelState::FAILED);
    SetError(loaded.error(), slot->state);
    spdlog::error("model {} failed to load: {}", load.name(), loaded.error().message);
  }
  TellLoad();
  TellModel(*slot);
}

Result<EngineLoop::Model> EngineLoop::LoadNow(const wire::LoadModel& load) {
  int64_t used = 0;
  for (const auto& [name, model] : models_) used += model->bytes();
  const uint64_t wanted = load.kv_bytes() > 0 ? load.kv_bytes() : options_.kv_bytes;
  const uint32_t context = load.context() == 0     ? options_.context
                           : options_.context == 0 ? load.context()
                                                   : std::min(load.context(), options_.context);
  PENSTOCK_ASSIGN(const int64_t kv_bytes,
                  KvBytesFor({.path = load.path(),
                              .requested = static_cast<int64_t>(wanted),
                              .free = static_cast<int64_t>(options_.memory_bytes) - used}));
  PENSTOCK_ASSIGN(
      const LoadedModel loaded,
      runner_.Load({.path = load.path(), .kv_bytes = kv_bytes, .context = static_cast<int32_t>(context)}));
  auto pieces = Pieces::Read(load.path(), loaded.vocabulary);
  if (!pieces) {
    runner_.Unload(loaded.id);
    return std::unexpected(pieces.error());
  }
  Model model{.state = {}, .loaded = loaded, .pieces = std::make_shared<const Pieces>(*std::move(pieces))};
  model.state.set_name(load.name());
  model.state.set_path(load.path());
  model.state.set_state(wire::ModelState::READY);
  // The longest sequence is limited by memory, too: what the gateway caps max_tokens to.
  model.state.set_context(static_cast<uint32_t>(LongestSequence(loaded)));
  model.state.set_pages(static_cast<uint32_t>(loaded.pages));
  model.state.set_weight_bytes(static_cast<uint64_t>(loaded.weight_bytes));
  model.state.set_page_bytes(static_cast<uint64_t>(loaded.page_bytes));
  model.state.set_kernel(loaded.kernel);
  return model;
}

void EngineLoop::Unload(Model& model, std::string_view why) {
  std::vector<Request*> ended;
  for (const auto& [id, request] : requests_) {
    if (request->model == &model) ended.push_back(request.get());
  }
  const Error error{Code::kUnavailable, fmt::format("model {} {}", model.state.name(), why),
                    Reason::kModelNotReady};
  for (Request* request : ended) EndRequest(*request, wire::ERROR, &error);
  if (model.state.state() != wire::ModelState::READY) return;
  scheduler_.RemoveModel(model.loaded.id);
  runner_.Unload(model.loaded.id);
}

void EngineLoop::HandleUnload(const std::string& name) {
  wire::ModelState state;
  state.set_name(name);
  if (const auto it = models_.find(name); it != models_.end()) {
    Unload(*it->second, "was unloaded");
    models_.erase(it);
  }
  TellLoad();
  state.set_state(wire::ModelState::UNLOADED);
  wire::FromEngine message;
  *message.mutable_model() = std::move(state);
  send_(message);
}

// ---- requests ----

void EngineLoop::HandleSubmit(const wire::Submit& submit) {
  if (auto started = Start(submit); !started) Refuse(submit, started.error());
  arriving_.clear();  // a submission follows its states at once: nobody will ask for what is left
}

Status EngineLoop::Start(const wire::Submit& submit) {
  if (draining_)
    return Fail(Code::kUnavailable, "engine {} is draining and takes no new work", options_.name);
  const auto model = models_.find(submit.model());
  if (model == models_.end() || model->second->state.state() != wire::ModelState::READY) {
    return Fail(Reason::kModelNotReady, "model {} is not loaded in engine {}", submit.model(), options_.name);
  }
  if (requests_.contains(submit.request())) {
    return Fail(Code::kInternal, "request {} is already running in engine {}", submit.request(),
                options_.name);
  }
  const uint32_t choices = std::max(submit.choices(), 1U);
  if (choices > kMaxChoices)
    return Fail(Code::kTooLarge, "{} choices; at most {} are served", choices, kMaxChoices);
  if (submit.max_tokens() == 0) return Fail(Reason::kBadField, "max_tokens is 0; ask for at least one token");

  auto request = std::make_unique<Request>();
  request->id = submit.request();
  request->model = model->second.get();
  request->limit = submit.limit();
  const Sampling sampling = submit.has_sampling() ? ToSampling(submit.sampling()) : Sampling();
  request->rules = {.pieces = model->second->pieces,
                    .stops = {},
                    .stop_tokens = {},
                    .include_stop = submit.include_stop(),
                    .logprobs = sampling.top_logprobs >= 0,
                    .max_tokens = submit.max_tokens()};
  std::ranges::copy_if(submit.stop(), std::back_inserter(request->rules.stops),
                       [](const std::string& stop) { return !stop.empty(); });
  if (!submit.ignore_eos())
    request->rules.stop_tokens.assign(submit.stop_tokens().begin(), submit.stop_tokens().end());

  std::vector<const wire::Resume*> resumed(choices);
  for (const wire::Resume& resume : submit.resume()) {
    if (resume.choice() < choices) resumed[resume.choice()] = &resume;
  }
  SequenceId lead = 0;
  for (uint32_t i = 0; i < choices; ++i) {
    const wire::Resume* resume = resumed[i];
    Choice& choice = request->choices.emplace_back(Choice{.sequence = 0, .output = Output(&request->rules)});
    if (resume != nullptr && resume->ended()) continue;
    NewSequence sequence = NewChoice(*model->second, submit, i, resume);
    const bool fresh = sequence.generated == 0;
    if (fresh) sequence.lead = lead;
    if (resume != nullptr)
      choice.output.Replay({resume->ids().data(), static_cast<size_t>(resume->ids_size())});
    auto id = scheduler_.Add(std::move(sequence));
    if (!id) {
      Forget(*request);
      return std::unexpected(id.error());
    }
    if (lead == 0 && fresh) lead = *id;
    choices_[*id] = {request.get(), i};
    choice.sequence = *id;
    if (auto given = arriving_.extract({submit.request(), i}))
      TakeOver(*model->second, *id, std::move(given.mapped().bytes), given.mapped().tokens);
    ++request->open;
  }
  if (request->open == 0) return Fail(Code::kInvalid, "nothing of the request is left to do");
  Request& started = *request;
  spdlog::debug("request {} of {}: {} tokens of prompt, {} choices of at most {} tokens", request->id,
                submit.model(), submit.prompt_size(), choices, submit.max_tokens());
  requests_.emplace(request->id, std::move(request));
  if (started.limit_reached()) EndRequest(started, wire::LENGTH);
  return {};
}

NewSequence EngineLoop::NewChoice(const Model& model, const wire::Submit& submit, uint32_t choice,
                                  const wire::Resume* resume) const {
  NewSequence sequence{.model = model.loaded.id,
                       .prompt = {submit.prompt().begin(), submit.prompt().end()},
                       .max_tokens = submit.max_tokens(),
                       .sampling = submit.has_sampling() ? ToSampling(submit.sampling()) : Sampling(),
                       .prefix_scope = submit.prefix_scope(),
                       .credits = submit.credits() == 0 ? -1 : int64_t{submit.credits()}};
  sequence.sampling.seed += choice;
  if (resume == nullptr) return sequence;
  sequence.prompt.insert(sequence.prompt.end(), resume->ids().begin(), resume->ids().end());
  sequence.generated = resume->ids_size();
  sequence.max_tokens = std::max<int64_t>(sequence.max_tokens - sequence.generated, 1);
  if (sequence.credits >= 0) sequence.credits = resume->credits();
  return sequence;
}

// ---- on to another engine ----

void EngineLoop::HandleState(const wire::State& state) {
  Arriving& arriving = arriving_[{state.request(), state.choice()}];
  arriving.tokens = state.tokens();
  arriving.bytes += state.data();
}

// Where it cannot be taken over, it is computed again.
void EngineLoop::TakeOver(const Model& model, SequenceId sequence, std::string state, uint32_t tokens) {
  const std::span<const Token> known = scheduler_.Find(sequence)->tokens;
  if (tokens == 0 || tokens >= known.size()) return;
  const Status given = runner_.GiveState(model.loaded.id, sequence, known.first(tokens), std::move(state));
  if (!given) return spdlog::warn("a sequence is computed again: {}", given.error().message);
  scheduler_.PutAside(sequence, static_cast<int32_t>(tokens));
}

void EngineLoop::HandleRelease(const wire::Release& release) {
  const auto it = requests_.find(release.request());
  if (it == requests_.end()) return;  // its end is on its way
  Request& request = *it->second;
  ReportTurns();
  SendReport();  // nothing of it comes after Released
  uint64_t left = release.most_bytes();
  for (uint32_t i = 0; i < request.choices.size(); ++i) left -= GiveAway(request, i, left);
  spdlog::debug("request {} goes on elsewhere", request.id);
  Forget(request);
  requests_.erase(it);
  TellLoad();
  wire::FromEngine message;
  message.mutable_released()->set_request(release.request());
  send_(message);
}

// Returns the bytes that it sent.
uint64_t EngineLoop::GiveAway(const Request& request, uint32_t choice, uint64_t most_bytes) {
  const Sequence* sequence = scheduler_.Find(request.choices[choice].sequence);
  if (sequence == nullptr || sequence->computed == 0) return 0;
  const LoadedModel& model = request.model->loaded;
  auto state = runner_.TakeState(model.id, sequence->id, sequence->computed, sequence->pages);
  if (!state || state->size() > most_bytes) return 0;
  wire::FromEngine message;
  wire::State& part = *message.mutable_state();
  part.set_request(request.id);
  part.set_choice(choice);
  part.set_tokens(static_cast<uint32_t>(sequence->computed));
  for (size_t at = 0; at < state->size(); at += kStatePart) {
    part.set_data(state->substr(at, kStatePart));
    send_(message);
  }
  return state->size();
}

// Of a request that could not be started whole, or is not this engine's any more.
void EngineLoop::Forget(Request& request) {
  for (const Choice& choice : request.choices) {
    if (choice.sequence == 0) continue;
    choices_.erase(choice.sequence);
    scheduler_.Finish(choice.sequence);
  }
}

void EngineLoop::Refuse(const wire::Submit& submit, const Error& error) {
  for (uint32_t i = 0; i < std::clamp(submit.choices(), 1U, kMaxChoices); ++i) {
    wire::TokenEvent* event = report_->add_tokens();
    event->set_request(submit.request());
    event->set_choice(i);
    event->set_finish(wire::ERROR);
    SetError(error, *event);
  }
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
  if (it == requests_.end() || limit.tokens() == 0) return;
  Request& request = *it->second;
  if (request.limit == 0 || limit.tokens() < request.limit) request.limit = limit.tokens();
  if (request.limit_reached()) EndRequest(request, wire::LENGTH);
}

wire::TokenEvent* EngineLoop::AddEvent(Request& request, size_t choice) {
  wire::TokenEvent* event = report_->add_tokens();
  event->set_request(request.id);
  event->set_choice(static_cast<uint32_t>(choice));
  return event;
}

void EngineLoop::EndRequest(Request& request, wire::Finish finish, const Error* error) {
  for (size_t i = 0, count = request.choices.size(); i < count; ++i) {
    Choice& choice = request.choices[i];
    if (choice.sequence == 0) continue;
    wire::TokenEvent* event = AddEvent(request, i);
    choice.output.End(finish, *event);
    if (error != nullptr) SetError(*error, *event);
    const bool last = request.open == 1;
    EndChoice(request, i);
    if (last) return;  // `request` is gone
  }
}

void EngineLoop::EndChoice(Request& request, size_t choice) {
  const SequenceId sequence = std::exchange(request.choices[choice].sequence, 0);
  ReportTurns();  // before the sequence they name is forgotten
  choices_.erase(sequence);
  scheduler_.Finish(sequence);
  if (--request.open > 0) return;
  spdlog::debug("request {} ended", request.id);
  requests_.erase(request.id);
}

// ---- steps ----

bool EngineLoop::Step() {
  auto plan = scheduler_.Next();
  ReportTurns();
  if (plan) {
    if (steps_++ % kStepsBetweenMeasures == 0) resident_bytes_ = ResidentBytes();
    report_->set_step(steps_);
    auto result = Execute(*std::move(plan));
    const Status committed = result ? scheduler_.Commit(*result) : Status(std::unexpected(result.error()));
    if (committed) {
      spdlog::trace("step {}: {} sequences, {} us", steps_, scheduler_.work().size(),
                    result->chip_time / kMicrosecond);
      Emit(*result);
    } else {
      FailStep(committed.error());
    }
  }
  SendReport();
  return plan.has_value();
}

Result<StepResult> EngineLoop::Execute(StepPlan plan) {
  std::mutex mutex;
  std::condition_variable wake;
  std::optional<Result<StepResult>> result;
  runner_.Submit(std::move(plan), [&](Result<StepResult> done) {
    const std::lock_guard lock(mutex);
    result = std::move(done);
    wake.notify_one();
  });
  std::unique_lock lock(mutex);
  wake.wait(lock, [&] { return result.has_value(); });
  return *std::move(result);
}

void EngineLoop::Emit(const StepResult& result) {
  ReportCharges(result.chip_time);
  ReportShape();
  for (const Sampled& sampled : result.sampled) EmitToken(sampled);
}

void EngineLoop::EmitToken(const Sampled& sampled) {
  const auto owner = choices_.find(sampled.sequence);
  if (owner == choices_.end()) return;  // another choice of its request has just reached their limit
  const auto [request, choice] = owner->second;
  Output& output = request->choices[choice].output;
  wire::TokenEvent* event = AddEvent(*request, choice);
  if (output.emitted() == 0) {
    event->set_cached_tokens(static_cast<uint32_t>(scheduler_.Find(sampled.sequence)->cached_tokens));
  }
  output.Take(sampled, *event);
  const bool limit_reached = request->limit_reached();
  if (limit_reached && event->finish() == wire::NONE) output.End(wire::LENGTH, *event);
  const bool last = request->open == 1;
  if (event->finish() != wire::NONE) EndChoice(*request, choice);
  if (limit_reached && !last) EndRequest(*request, wire::LENGTH);
}

// A fault of the runner ends the sequences of its step, and nothing else.
void EngineLoop::FailStep(const Error& error) {
  spdlog::error("step {} failed: {}", steps_, error.message);
  const Error gave_up{Code::kInternal, error.message, Reason::kEngineGaveUp};
  std::vector<SequenceId> failed;
  for (const Scheduler::Work& work : scheduler_.work()) failed.push_back(work.id);
  scheduler_.Abort();
  for (SequenceId sequence : failed) {
    const auto it = choices_.find(sequence);
    if (it == choices_.end()) continue;  // another choice of its request ended it
    EndRequest(*it->second.first, wire::ERROR, &gave_up);
  }
}

// The step's chip time by tokens computed; the parts add up exactly.
void EngineLoop::ReportCharges(Nanos chip_time) {
  report_->set_chip_ns(static_cast<uint64_t>(chip_time));
  charged_.clear();
  uint64_t total = 0;
  for (const Scheduler::Work& work : scheduler_.work()) {
    Request* request = choices_.at(work.id).first;
    if (request->step_tokens == 0) charged_.push_back(request);
    request->step_tokens += static_cast<uint32_t>(work.tokens);
    total += static_cast<uint64_t>(work.tokens);
  }
  uint64_t tokens = 0, given = 0;
  for (Request* request : charged_) {
    wire::Charge* charge = report_->add_charges();
    charge->set_request(request->id);
    charge->set_computed(request->step_tokens);
    tokens += std::exchange(request->step_tokens, 0);
    const auto until = static_cast<uint64_t>(static_cast<unsigned __int128>(chip_time) * tokens / total);
    charge->set_chip_ns(until - std::exchange(given, until));
  }
}

// Before the sampled tokens are told of: a sequence that ends with one is forgotten.
void EngineLoop::ReportShape() {
  uint32_t prefill = 0, decode = 0;
  uint64_t context = 0;
  for (const Scheduler::Work& work : scheduler_.work()) {
    prefill += static_cast<uint32_t>(work.tokens) - (work.sample ? 1 : 0);
    decode += work.sample ? 1 : 0;
    if (work.sample) context += static_cast<uint64_t>(scheduler_.Find(work.id)->computed);
  }
  report_->set_prefill(prefill);
  report_->set_decode(decode);
  report_->set_context(context);
  if (!scheduler_.work().empty()) {
    report_->set_model(choices_.at(scheduler_.work().front().id).first->model->state.name());
  }
}

void EngineLoop::ReportTurns() {
  for (const auto& [sequence, turn] : scheduler_.TakeTurns()) {
    const auto [request, choice] = choices_.at(sequence);
    wire::Note* note = report_->add_notes();
    note->set_request(request->id);
    note->set_choice(static_cast<uint32_t>(choice));
    note->set_kind(ToNote(turn));
  }
}

void EngineLoop::SendReport() {
  if (report_->tokens().empty() && report_->charges().empty() && report_->notes().empty()) return;
  *report_->mutable_load() = Load();
  send_(message_);
  report_->Clear();
}

wire::Load EngineLoop::Load() const {
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
