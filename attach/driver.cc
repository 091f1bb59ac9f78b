#include "attach/driver.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <utility>

#include "attach/driver_parts.h"
#include "base/log_level.h"
#include "engine/submission.h"
#include "model/files/assets.h"

namespace penstock {
namespace {

namespace asio = boost::asio;
// The fleet counts memory in pages. An upstream's memory is unknown: its concurrency limit stands for it.
constexpr uint32_t kPages = 1 << 24;

}  // namespace

Result<ModelWords> ReadModelWords(const std::string& path) {
  PENSTOCK_ASSIGN(const TextAssets assets, ReadTextAssets(path));
  PENSTOCK_ASSIGN(std::unique_ptr<Tokenizer> tokenizer, assets.vocabulary
                                                            ? TokenizerFromVocabulary(*assets.vocabulary)
                                                            : TokenizerFromJson(assets.tokenizer_json));
  std::vector<std::string> pieces;
  for (Token token = 0; token < tokenizer->size(); ++token) pieces.emplace_back(tokenizer->Bytes(token));
  return ModelWords{.tokenizer = std::move(tokenizer),
                    .pieces = std::make_shared<const Pieces>(Pieces::Of(pieces)),
                    .end_tokens = assets.end_tokens,
                    .eos = assets.eos,
                    .context = static_cast<uint32_t>(std::max(assets.context, 0))};
}

Driver::Driver(asio::io_context& io, std::shared_ptr<Upstream> upstream, DriverOptions options, Send send)
    : io_(io),
      upstream_(std::move(upstream)),
      options_(std::move(options)),
      where_("the upstream at " + upstream_->url().Text()),
      send_(std::move(send)),
      concurrency_(options_.concurrency),
      look_(io),
      report_(io),
      later_(io),
      accounted_at_(Now()) {
  asio::co_spawn(io_, Watch(), asio::detached);
}

Driver::~Driver() {
  Disconnected();
}

void Driver::Handle(const wire::ToEngine& command) {
  switch (command.kind_case()) {
    case wire::ToEngine::kUnload:
      if (const auto found = models_.find(command.unload().name()); found != models_.end()) {
        const auto model = found->second;
        for (const auto& [id, request] : std::map(requests_)) {
          if (request->model != model) continue;
          const auto choices = request->choices;
          const Error error{Code::kUnavailable, fmt::format("model {} is unloaded", model->load.name()),
                            Reason::kModelNotReady};
          for (const ChoicePtr& choice : choices) FailChoice(*choice, error);
        }
        SetState(*model, wire::ModelState::UNLOADED);
        models_.erase(command.unload().name());
      }
      return;
    case wire::ToEngine::kSubmit:
      return Submit(command.submit());
    case wire::ToEngine::kCancel:
      return Cancel(command.cancel().request());
    case wire::ToEngine::kCredit:
      return Grant(command.credit());
    case wire::ToEngine::kLimit:
      return Lower(command.limit());
    case wire::ToEngine::kLog:
      if (const auto level = ParseLogLevel(command.log().level())) spdlog::set_level(*level);
      return;
    case wire::ToEngine::kLoad:
    case wire::ToEngine::kDrain:
    case wire::ToEngine::kBatch:
    case wire::ToEngine::kWelcome:
    case wire::ToEngine::KIND_NOT_SET:
      return;  // the process's affair
    case wire::ToEngine::kRelease:
    case wire::ToEngine::kState:
      return;  // no upstream gives or takes them, and hello says so
  }
}

void Driver::Load(const wire::LoadModel& load, Result<ModelWords> words) {
  auto& slot = models_[load.name()];
  slot = std::make_shared<Model>();
  slot->load = load;
  slot->state.set_name(load.name());
  slot->state.set_path(load.path());
  if (!words) return SetState(*slot, wire::ModelState::FAILED, &words.error());
  slot->words = *std::move(words);
  if (up_ || !down_why_)
    SetState(*slot, wire::ModelState::LOADING);
  else
    SetState(*slot, wire::ModelState::FAILED, &*down_why_);
  LookSoon();
}

void Driver::Disconnected() {
  for (const auto& [id, request] : std::exchange(requests_, {})) {
    for (const ChoicePtr& choice : request->choices) {
      choice->ended = true;
      if (choice->call != nullptr) choice->call->Close();
      choice->credit_came->cancel();
    }
    request->choices.clear();
  }
  held_.clear();
  steps_.clear();
}

void Driver::Drain(std::function<void()> drained) {
  draining_ = true;
  drained_ = std::move(drained);
  if (requests_.empty()) std::exchange(drained_, nullptr)();
}

void Driver::Submit(const wire::Submit& submit) {
  if (const Status started = Start(submit); !started) {
    Refuse(submit, started.error(), steps_[submit.model()].report);
    ReportSoon();
    return;
  }
  Pump();
}

Status Driver::Start(const wire::Submit& submit) {
  const auto found = models_.find(submit.model());
  const bool ready = found != models_.end() && found->second->state.state() == wire::ModelState::READY;
  PENSTOCK_TRY(CheckSubmit(submit, {.engine = options_.name,
                                    .draining = draining_,
                                    .model_ready = ready,
                                    .running = requests_.contains(submit.request())}));
  const Model& model = *found->second;

  auto request = std::make_shared<Request>();
  request->id = submit.request();
  request->model = found->second;
  request->can = *model.can;
  request->submit = submit;
  const auto limit = submit.limit() == 0 ? UINT64_MAX : submit.limit();
  request->submit.set_max_tokens(static_cast<uint32_t>(std::min<uint64_t>(submit.max_tokens(), limit)));
  request->rules = RulesOf(request->submit, model.words.pieces, model.can->logprobs);

  if (Status made = MakeChoices(request); !made) {
    request->choices.clear();  // each holds the request that holds it
    return made;
  }
  requests_.emplace(request->id, request);
  if (request->LimitLeft() == 0) {
    ApplyLimit(*request);
    return {};
  }
  for (const ChoicePtr& choice : request->choices) {
    if (!choice->ended) held_.push_back(choice);
  }
  return {};
}

Status Driver::MakeChoices(const std::shared_ptr<Request>& request) {
  const wire::Submit& submit = request->submit;
  const Model& model = *request->model;
  const std::vector<const wire::Resume*> resumed = ResumesOf(submit);
  for (uint32_t i = 0; i < resumed.size(); ++i) {
    const auto choice = request->choices.emplace_back(
        std::make_shared<Choice>(Choice{.request = request,
                                        .index = i,
                                        .output = Output(&request->rules),
                                        .counter = TextCounter(model.words.tokenizer),
                                        .ask = {},
                                        .prompt_tokens = static_cast<uint32_t>(submit.prompt_size()),
                                        .credits = submit.credits(),
                                        .credit_came = std::make_shared<asio::steady_timer>(io_),
                                        .queued = Now(),
                                        .finish = "",
                                        .usage = {}}));
    PromptParts prompt{.tokens = {submit.prompt().begin(), submit.prompt().end()}, .text = submit.text()};
    if (const wire::Resume* resume = resumed[i]; resume != nullptr) {
      choice->ended = choice->done = resume->ended();
      if (resume->ids_size() > 0 && model.can->prompt == Can::Prompt::kChat)
        return Fail(Reason::kUnsupportedField,
                    "the upstream cannot go on with an answer that another engine began");
      prompt.tokens.insert(prompt.tokens.end(), resume->ids().begin(), resume->ids().end());
      choice->before = static_cast<uint32_t>(resume->ids_size());
      choice->output.Replay({resume->ids().data(), static_cast<size_t>(resume->ids_size())});
      if (submit.credits() > 0) choice->credits = choice->before + resume->credits();
      if (!prompt.text.empty()) {
        for (const Token token : resume->ids()) prompt.text += model.words.tokenizer->Bytes(token);
      }
    }
    if (choice->ended) continue;
    if (prompt.text.empty() && model.can->prompt != Can::Prompt::kTokens) {
      for (const Token token : prompt.tokens) {
        const Tokenizer& words = *model.words.tokenizer;
        prompt.text += words.IsControl(token) ? words.Piece(token) : words.Bytes(token);
      }
    }
    PENSTOCK_ASSIGN(choice->ask, MakeRequest(*model.can, submit, i, prompt,
                                             {.model = model.theirs,
                                              .end_tokens = model.words.end_tokens,
                                              .emitted = choice->before}));
    ++request->open;
  }
  if (request->open == 0) return Fail(Code::kInvalid, "every choice of the request has already ended");
  return {};
}

void Driver::Cancel(uint64_t id) {
  const auto found = requests_.find(id);
  if (found == requests_.end()) return;
  const auto choices = found->second->choices;  // the request lets go of them at its end
  for (const ChoicePtr& choice : choices) End(*choice, wire::CANCELLED);
}

void Driver::Grant(const wire::Credit& credit) {
  const auto found = requests_.find(credit.request());
  if (found == requests_.end() || credit.choice() >= found->second->choices.size()) return;
  Choice& choice = *found->second->choices[credit.choice()];
  if (choice.credits > 0) choice.credits += credit.tokens();
  choice.credit_came->cancel();
}

// Lowers Submit.limit; as if the request had been sent with it.
void Driver::Lower(const wire::Limit& limit) {
  const auto found = requests_.find(limit.request());
  if (found == requests_.end()) return;
  const auto request = found->second;
  request->submit.set_limit(Lowered(request->submit.limit(), limit));
  ApplyLimit(*request);
}

// Ends a request that has emitted all that it may.
void Driver::ApplyLimit(Request& request) {
  if (request.LimitLeft() > 0) return;
  const auto choices = request.choices;  // the request drops them when the last one ends
  for (const ChoicePtr& choice : choices) {
    if (!choice->done) End(*choice, wire::LENGTH);  // one that is done waits for its upstream's usage only
  }
}

wire::TokenEvent& Driver::EventOf(Choice& choice) {
  Step& step = steps_[choice.request->submit.model()];
  const auto [slot, fresh] =
      step.events.try_emplace({choice.request->id, choice.index}, step.report.tokens_size());
  if (!fresh) return *step.report.mutable_tokens(slot->second);
  wire::TokenEvent& event = *step.report.add_tokens();
  event.set_request(choice.request->id);
  event.set_choice(choice.index);
  event.set_emitted(choice.output.emitted());
  ReportSoon();
  return event;
}

void Driver::ReportSoon() {
  if (std::exchange(report_posted_, true)) return;
  report_.expires_after(std::chrono::nanoseconds(options_.report_every));
  report_.async_wait([this, alive = std::weak_ptr(alive_)](boost::system::error_code error) {
    if (error || !alive.lock()) return;
    Report();
  });
}

// Divides the time since the last call equally among the requests that ran.
void Driver::Account() {
  const Nanos now = Now();
  const auto passed = static_cast<uint64_t>(std::max<Nanos>(now - std::exchange(accounted_at_, now), 0));
  for (size_t i = 0; i < running_.size(); ++i) {
    const Request& request = *running_[i]->request;
    steps_[request.submit.model()].shares[request.id] +=
        passed * (i + 1) / running_.size() - passed * i / running_.size();
  }
}

void Driver::Report() {
  report_posted_ = false;
  Account();
  for (auto& [name, step] : steps_) {
    for (const auto& [id, computed] : step.computed) step.shares.try_emplace(id, 0);
    uint64_t sum = 0;
    for (const auto& [id, share] : step.shares) {
      wire::Charge& charge = *step.report.add_charges();
      charge.set_request(id);
      charge.set_chip_ns(share);
      charge.set_computed(step.computed.contains(id) ? step.computed.at(id) : 0);
      sum += share;
    }
    step.report.set_step(++step_);
    step.report.set_chip_ns(sum);
    step.report.set_model(name);
    *step.report.mutable_load() = Load();
    wire::FromEngine message;
    message.mutable_step()->Swap(&step.report);
    send_(message);
  }
  steps_.clear();
}

wire::Load Driver::Load() const {
  wire::Load load;
  load.set_running(static_cast<uint32_t>(running_.size()));
  load.set_waiting(static_cast<uint32_t>(held_.size()));
  load.set_free_pages(kPages);
  load.set_computed_tokens(computed_);
  load.set_max_sequences(Limit());
  return load;
}

}  // namespace penstock
