#include "attach/driver.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <utility>

#include "attach/counter.h"
#include "attach/discover.h"
#include "base/log_level.h"
#include "engine/output.h"
#include "model/assets.h"

// The coroutine's PENSTOCK_TRY.
#define PENSTOCK_CO_TRY(expression)                                      \
  do {                                                                   \
    if (auto penstock_try_ = (expression); !penstock_try_.has_value()) { \
      co_return std::unexpected(std::move(penstock_try_).error());       \
    }                                                                    \
  } while (false)

namespace penstock {
namespace {

namespace asio = boost::asio;
constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);

constexpr uint32_t kMaxChoices = 128;
// The fleet counts memory in pages; an upstream's is its own affair, its limit speaks for it.
constexpr uint32_t kPages = 1 << 24;
constexpr size_t kLongestError = 64 << 10;
constexpr Nanos kRest = 200 * kMillisecond;

Nanos Now() {
  return SystemClock().Monotonic();
}

std::string Names(const std::vector<UpstreamModel>& listed) {
  std::string names;
  for (const auto& model : listed) names += (names.empty() ? "" : ", ") + model.id;
  return names.empty() ? "none" : names;
}

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

struct Driver::Model {
  wire::ModelState state;
  wire::LoadModel load;
  ModelWords words;
  std::string theirs;
  std::optional<Can> can;  // once asked, until the upstream goes
};

struct Driver::Request {
  uint64_t id = 0;
  std::shared_ptr<const Model> model;
  Can can;
  wire::Submit submit;
  OutputRules rules;
  std::vector<ChoicePtr> choices;
  size_t open = 0;
};

struct Driver::Choice {
  std::shared_ptr<Request> request;
  uint32_t index = 0;
  Output output;
  TextCounter counter;
  UpstreamRequest ask;
  uint32_t prompt_tokens = 0, before = 0;  // `before`: emitted by other engines
  uint64_t credits = 0;                    // emitted in all that it may; 0: unlimited
  std::shared_ptr<asio::steady_timer> credit_came;
  Upstream::Call* call = nullptr;
  Nanos queued = 0, sent = 0;
  uint32_t beside = 0;        // that ran when it was sent, itself included
  uint64_t ended_before = 0;  // that had ended by then
  int refusals = 0;
  bool first = false, ended = false, starved = false, admitted = false, done = false;
  wire::Finish end = wire::NONE;  // by our rules, with `done`; told when it is settled
  std::string stop = {};
  std::string finish;  // as the upstream says
  std::optional<UpstreamUsage> usage;
};

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

// ---- commands ----

void Driver::Handle(const wire::ToEngine& command) {
  switch (command.kind_case()) {
    case wire::ToEngine::kUnload:
      if (const auto found = models_.find(command.unload().name()); found != models_.end()) {
        const auto model = found->second;
        for (const auto& [id, request] : std::map(requests_)) {
          if (request->model != model) continue;
          const auto choices = request->choices;
          for (const ChoicePtr& choice : choices)
            End(*choice, wire::ERROR, fmt::format("model {} is unloaded", model->load.name()), true);
        }
        SetState(*model, wire::ModelState::UNLOADED, "");
        models_.erase(command.unload().name());
      }
      return;
    case wire::ToEngine::kSubmit:
      return Submit(command.submit());
    case wire::ToEngine::kCancel:
      return Cancel(command.cancel().request());
    case wire::ToEngine::kCredit:
      return Grant(command.credit());
    case wire::ToEngine::kLog:
      if (const auto level = ParseLogLevel(command.log().level())) spdlog::set_level(*level);
      return;
    case wire::ToEngine::kLoad:
    case wire::ToEngine::kDrain:
    case wire::ToEngine::kBatch:
    case wire::ToEngine::kWelcome:
    case wire::ToEngine::KIND_NOT_SET:
      return;  // the process's affair
  }
}

void Driver::Load(const wire::LoadModel& load, Result<ModelWords> words) {
  auto& slot = models_[load.name()];
  slot = std::make_shared<Model>();
  slot->load = load;
  slot->state.set_name(load.name());
  slot->state.set_path(load.path());
  if (!words) return SetState(*slot, wire::ModelState::FAILED, words.error().message);
  slot->words = *std::move(words);
  if (up_ || down_why_.empty())
    SetState(*slot, wire::ModelState::LOADING, "");
  else
    SetState(*slot, wire::ModelState::FAILED, down_why_);
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

// ---- requests ----

void Driver::Submit(const wire::Submit& submit) {
  if (const Status started = Start(submit); !started) {
    const Code code = started.error().code;
    const bool fault = code != Code::kUnsupported && code != Code::kInvalid && code != Code::kTooLarge;
    auto& step = steps_[submit.model()];
    for (uint32_t i = 0; i < std::clamp(submit.choices(), 1U, kMaxChoices); ++i) {
      wire::TokenEvent& event = *step.report.add_tokens();
      event.set_request(submit.request());
      event.set_choice(i);
      event.set_finish(wire::ERROR);
      event.set_error(started.error().message);
      event.set_fault(fault);
    }
    ReportSoon();
    return;
  }
  Pump();
}

Status Driver::Start(const wire::Submit& submit) {
  if (draining_)
    return Fail(Code::kUnavailable, "engine {} is draining and takes no new work", options_.name);
  const auto found = models_.find(submit.model());
  if (found == models_.end() || found->second->state.state() != wire::ModelState::READY)
    return Fail(Code::kUnavailable, "model {} is not ready in engine {}", submit.model(), options_.name);
  if (requests_.contains(submit.request()))
    return Fail(Code::kConflict, "request {} is already running in engine {}", submit.request(),
                options_.name);
  if (submit.choices() > kMaxChoices)
    return Fail(Code::kTooLarge, "{} choices; at most {} are served", submit.choices(), kMaxChoices);
  if (submit.max_tokens() == 0) return Fail(Code::kInvalid, "max_tokens is 0; ask for at least one token");
  const Model& model = *found->second;

  auto request = std::make_shared<Request>();
  request->id = submit.request();
  request->model = found->second;
  request->can = *model.can;
  request->submit = submit;
  request->rules = {.pieces = model.words.pieces,
                    .stops = {},
                    .stop_tokens = {},
                    .include_stop = submit.include_stop(),
                    .logprobs = submit.sampling().top_logprobs() >= 0 && model.can->logprobs,
                    .max_tokens = submit.max_tokens()};
  std::ranges::copy_if(submit.stop(), std::back_inserter(request->rules.stops),
                       [](const std::string& stop) { return !stop.empty(); });
  if (!submit.ignore_eos())
    request->rules.stop_tokens.assign(submit.stop_tokens().begin(), submit.stop_tokens().end());

  if (Status made = MakeChoices(request); !made) {
    request->choices.clear();  // each holds the request that holds it
    return made;
  }
  requests_.emplace(request->id, request);
  for (const ChoicePtr& choice : request->choices) {
    if (!choice->ended) held_.push_back(choice);
  }
  return {};
}

Status Driver::MakeChoices(const std::shared_ptr<Request>& request) {
  const wire::Submit& submit = request->submit;
  const Model& model = *request->model;
  const uint32_t choices = std::max(submit.choices(), 1U);
  std::vector<const wire::Resume*> resumed(choices);
  for (const wire::Resume& resume : submit.resume()) {
    if (resume.choice() < choices) resumed[resume.choice()] = &resume;
  }
  for (uint32_t i = 0; i < choices; ++i) {
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
        return Fail(Code::kUnavailable, "the upstream cannot go on with an answer that another engine began");
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
  if (request->open == 0) return Fail(Code::kInvalid, "nothing of the request is left to do");
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

// Sends what the limit lets in.
void Driver::Pump() {
  if (const Nanos now = Now(); now < hold_until_) {
    later_.expires_after(std::chrono::nanoseconds(hold_until_ - now));
    later_.async_wait([this, alive = std::weak_ptr(alive_)](boost::system::error_code error) {
      if (!error && alive.lock()) Pump();
    });
    return;
  }
  while (!held_.empty() && running_.size() < Limit()) {
    const ChoicePtr choice = held_.front();
    held_.pop_front();
    if (choice->ended) continue;
    Account();
    running_.push_back(choice.get());
    choice->sent = Now();
    choice->beside = static_cast<uint32_t>(running_.size());
    choice->ended_before = ended_;
    if (!std::exchange(choice->admitted, true)) {
      wire::Note& note = *steps_[choice->request->submit.model()].report.add_notes();
      note.set_request(choice->request->id);
      note.set_choice(choice->index);
      note.set_kind(wire::Note::ADMITTED);
      ReportSoon();
    }
    asio::co_spawn(
        io_, Run(choice), [this, choice, alive = std::weak_ptr(alive_)](const std::exception_ptr& thrown) {
          if (!alive.lock() || !thrown) return;
          try {
            std::rethrow_exception(thrown);
          } catch (const std::exception& error) {
            Leave(*choice);
            End(*choice, wire::ERROR, fmt::format("engine {} failed: {}", options_.name, error.what()), true);
            Pump();
          }
        });
  }
}

asio::awaitable<void> Driver::Run(ChoicePtr choice) {
  const std::weak_ptr<char> alive = alive_;
  std::string lost;
  {
    Upstream::Call call(upstream_);
    choice->call = &call;
    Status status = co_await upstream_->Start(call, choice->ask.path, choice->ask.body);
    if (alive.expired()) co_return;
    const bool refused = status && (call.head().status() == 429 || call.head().status() == 503);
    if (!choice->ended && !status) {
      lost = status.error().message;
    } else if (!choice->ended && refused) {
      const auto body = co_await call.ReadAll(kLongestError);
      if (alive.expired()) co_return;
      choice->call = nullptr;
      if (!choice->ended && TryLater(choice, call.head().retry_after(), body ? ErrorText(*body) : ""))
        co_return;
    } else if (!choice->ended) {
      status = co_await Answer(*choice, call);
      if (alive.expired()) co_return;
      if (!choice->ended && !status) {
        const bool theirs = status.error().code == Code::kInvalid;
        End(*choice, wire::ERROR, fmt::format("{}: {}", where_, status.error().message), !theirs);
      }
    }
    choice->call = nullptr;
  }
  Leave(*choice);
  if (!lost.empty() && !choice->ended) {
    End(*choice, wire::ERROR, fmt::format("{}: {}", where_, lost), true);
    Lost(lost);
  }
  Pump();
}

// The upstream has no room: it is asked again later, by which nobody loses anything.
bool Driver::TryLater(const ChoicePtr& choice, int64_t retry_after, const std::string& said) {
  const Nanos now = Now();
  concurrency_.Refused(choice->sent, now);
  if (now - choice->queued > options_.refused_for) {
    End(*choice, wire::ERROR,
        fmt::format("{} has no room, for {} s now: {}", where_, (now - choice->queued) / kSecond, said),
        true);
    return false;
  }
  Leave(*choice);
  const Nanos wait = retry_after >= 0
                         ? std::min<int64_t>(retry_after, 30) * kSecond
                         : std::min((100 * kMillisecond) << std::min(choice->refusals, 6), 5 * kSecond);
  ++choice->refusals;
  hold_until_ = std::max(hold_until_, now + std::max(wait, 10 * kMillisecond));
  held_.push_front(choice);
  ReportSoon();
  Pump();
  return true;
}

asio::awaitable<Status> Driver::Answer(Choice& choice, Upstream::Call& call) {
  const std::weak_ptr<char> alive = alive_;
  if (call.head().status() != 200) {
    const int status = call.head().status();
    const auto body = co_await call.ReadAll(kLongestError);
    const std::string text = body ? ErrorText(*body) : body.error().message;
    co_return Fail(status >= 400 && status < 500 && status != 401 && status != 403 && status != 404
                       ? Code::kInvalid
                       : Code::kUnavailable,
                   "it answers {}: {}", status, text);
  }
  if (call.head().content_type() != "text/event-stream") {
    // Some answer whole although a stream was asked for.
    if (call.head().content_type() != "application/json")
      co_return Fail(Code::kUnavailable, "it answers with {}, not with events",
                     call.head().content_type().empty() ? "no type" : call.head().content_type());
    const auto body = co_await call.ReadAll(EventReader::kLongest);
    if (!body) co_return std::unexpected(body.error());
    if (alive.expired() || choice.ended) co_return Status();
    PENSTOCK_CO_TRY(Take(choice, *body));
    EndAsUpstream(choice);
    co_return Status();
  }
  EventReader reader;
  std::vector<std::string> events;
  bool done = false;
  while (!done && !choice.ended) {
    const auto piece = co_await call.Read();
    if (alive.expired() || choice.ended) co_return Status();
    heard_ = Now();
    if (!piece) {
      if (!choice.finish.empty() || choice.done) break;  // it had said its end
      co_return std::unexpected(piece.error());
    }
    done = piece->empty();
    if (done)
      reader.End(events);
    else
      PENSTOCK_CO_TRY(reader.Feed(*piece, events));
    for (const std::string& event : std::exchange(events, {})) {
      if (event == "[DONE]") {
        done = true;
        break;
      }
      PENSTOCK_CO_TRY(Take(choice, event));
      if (choice.ended) co_return Status();
    }
    if (!done && !choice.done) co_await WaitForCredit(choice);
    if (alive.expired()) co_return Status();
  }
  if (choice.ended) co_return Status();
  if (choice.finish.empty() && !choice.done)
    co_return Fail(Code::kUnavailable, "it ended its answer without an end");
  EndAsUpstream(choice);
  // To the end of the body, so that the connection can be used again.
  while (call.head().status() == 200 && !call.head().done()) {
    const auto rest = co_await call.Read(kRest);
    if (!rest || rest->empty()) break;
  }
  co_return Status();
}

// Nothing more is read while the reader has had all that it granted: the upstream's own buffers fill, and it
// waits. What one piece held beyond that is told.
asio::awaitable<void> Driver::WaitForCredit(Choice& choice) {
  const std::weak_ptr<char> alive = alive_;
  while (!choice.ended && choice.credits > 0 && choice.output.emitted() >= choice.credits) {
    if (!std::exchange(choice.starved, true)) {
      wire::Note& note = *steps_[choice.request->submit.model()].report.add_notes();
      note.set_request(choice.request->id);
      note.set_choice(choice.index);
      note.set_kind(wire::Note::STARVED);
      ReportSoon();
    }
    const auto timer = choice.credit_came;
    timer->expires_after(std::chrono::hours(1));
    co_await timer->async_wait(kTuple);
    if (alive.expired()) co_return;
  }
  if (choice.ended || !std::exchange(choice.starved, false)) co_return;
  wire::Note& note = *steps_[choice.request->submit.model()].report.add_notes();
  note.set_request(choice.request->id);
  note.set_choice(choice.index);
  note.set_kind(wire::Note::RESUMED);
  ReportSoon();
}

Status Driver::Take(Choice& choice, const std::string& json) {
  PENSTOCK_ASSIGN(const UpstreamChunk chunk, ParseChunk(json));
  if (chunk.calls_tool)
    return Fail(Code::kUnavailable, "it answers with a call of a tool, which cannot be passed on yet");
  TakeChunk(choice, chunk);
  return {};
}

void Driver::TakeChunk(Choice& choice, const UpstreamChunk& chunk) {
  Request& request = *choice.request;
  if (chunk.usage) choice.usage = chunk.usage;
  if (!chunk.finish.empty()) choice.finish = chunk.finish;
  const bool says = !chunk.text.empty() || !chunk.ids.empty();
  if (says && !std::exchange(choice.first, true)) {
    concurrency_.Begins({.sent = choice.sent,
                         .now = Now(),
                         .prompt_tokens = choice.prompt_tokens + choice.before,
                         .running = choice.beside,
                         .begun = Begun(),
                         .room_made = ended_ > choice.ended_before});
    Step& step = steps_[request.submit.model()];
    const uint32_t prompt = choice.prompt_tokens + choice.before;
    step.report.set_prefill(step.report.prefill() + prompt);
    step.computed[request.id] += prompt;
    computed_ += prompt;
    Pump();
  }
  if (choice.done) return;  // its end is told already; the rest is read for its usage
  const uint32_t before = choice.output.emitted();
  if (request.can.ids != Can::Ids::kNone) {
    TakeIds(choice, chunk);
  } else if (!chunk.text.empty()) {
    const uint32_t room = request.rules.max_tokens - std::min(request.rules.max_tokens, before);
    wire::TokenEvent& event = EventOf(choice);
    choice.output.TakeText(chunk.text, std::min(choice.counter.Push(chunk.text), room), event);
    NoteEnd(choice, event);
  }
  const uint32_t more = choice.output.emitted() - before;
  if (more > 0) {
    Step& step = steps_[request.submit.model()];
    step.report.set_decode(step.report.decode() + more);
    step.report.set_context(step.report.context() +
                            uint64_t{more} * (choice.prompt_tokens + choice.output.emitted()));
    step.computed[request.id] += more;
    computed_ += more;
  }
  // Where the upstream cannot know that this is the end, it is let go at once: at a stop string or token that
  // the client named.
  const auto& ends = request.model->words.end_tokens;
  const bool knows = choice.end == wire::LENGTH || std::ranges::any_of(ends, [&](Token token) {
                       return choice.stop == std::to_string(token);
                     });
  if (choice.done && !knows) Settle(choice);
}

void Driver::TakeIds(Choice& choice, const UpstreamChunk& chunk) {
  const Request& request = *choice.request;
  const size_t told = request.can.ids == Can::Ids::kField ? chunk.ids.size() : chunk.logprobs.size();
  for (size_t i = 0; i < told && !choice.done; ++i) {
    Sampled sampled;
    sampled.token = request.can.ids == Can::Ids::kField ? chunk.ids[i] : chunk.logprobs[i].token;
    if (i < chunk.logprobs.size()) {
      sampled.logprob = chunk.logprobs[i].logprob;
      const auto most = static_cast<size_t>(std::max(request.submit.sampling().top_logprobs(), 0));
      for (const auto& [token, logprob] : chunk.logprobs[i].top) {
        if (sampled.top.size() < most && token >= 0) sampled.top.push_back({token, logprob});
      }
    }
    wire::TokenEvent& event = EventOf(choice);
    choice.output.Take(sampled, event);
    event.set_new_tokens(static_cast<uint32_t>(event.ids_size()));
    NoteEnd(choice, event);
  }
}

// An end by our rules is told when the upstream has told its count, too.
void Driver::NoteEnd(Choice& choice, wire::TokenEvent& event) {
  if (event.finish() == wire::NONE) return;
  choice.done = true;
  choice.end = event.finish();
  choice.stop = event.stop();
  event.clear_finish();
  event.clear_stop();
}

// The upstream says that the answer is over, and no rule of ours had ended it.
void Driver::EndAsUpstream(Choice& choice) {
  const Request& request = *choice.request;
  if (choice.done) return Settle(choice);
  if (choice.finish == "length") return End(choice, wire::LENGTH);
  // An end token is a token, as it is of our own engines. Upstreams tell it in their count alone.
  wire::TokenEvent& event = EventOf(choice);
  const bool wants_logprobs = request.rules.logprobs;
  const bool ends = std::ranges::find(request.rules.stop_tokens, request.model->words.eos) !=
                    request.rules.stop_tokens.end();
  if (!ends || wants_logprobs || choice.output.emitted() >= request.rules.max_tokens)
    return End(choice, wire::STOP);
  if (request.can.ids != Can::Ids::kNone) {
    Sampled end;
    end.token = request.model->words.eos;
    choice.output.Take(end, event);
    event.set_new_tokens(static_cast<uint32_t>(event.ids_size()));
    NoteEnd(choice, event);
    return Settle(choice);
  }
  choice.output.TakeText("", 1, event);
  End(choice, wire::STOP);
}

// Ends a choice before its rules do.
void Driver::End(Choice& choice, wire::Finish finish, std::string_view error, bool fault) {
  if (choice.ended) return;
  wire::TokenEvent& event = EventOf(choice);
  if (!choice.done) {
    choice.output.End(finish, event);
    NoteEnd(choice, event);
    if (finish == wire::ERROR) {
      event.set_error(std::string(error));
      event.set_fault(fault);
      spdlog::warn("request {}: {}", choice.request->id, error);
    }
  }
  Settle(choice);
}

// A choice whose end is in its event: lets go of the upstream.
void Driver::Settle(Choice& choice) {
  if (std::exchange(choice.ended, true)) return;
  Leave(choice);
  wire::TokenEvent& event = EventOf(choice);
  event.set_finish(choice.end);
  event.set_emitted(choice.output.emitted());
  if (!choice.stop.empty()) event.set_stop(choice.stop);
  const uint32_t ours = choice.output.emitted() - choice.before;
  if (choice.usage) {
    event.mutable_reported()->set_prompt(choice.usage->prompt);
    event.mutable_reported()->set_completion(choice.usage->completion);
    const bool cut = choice.finish.empty();
    const uint32_t prompt = choice.prompt_tokens + choice.before;
    if ((!cut && choice.usage->completion != ours) || choice.usage->prompt != prompt) {
      spdlog::warn("request {}: the upstream counts {} + {} tokens, we count {} + {}", choice.request->id,
                   choice.usage->prompt, choice.usage->completion, prompt, ours);
    }
  }
  if (choice.call != nullptr && choice.finish.empty()) choice.call->Close();
  choice.credit_came->cancel();
  const auto request = choice.request;
  std::erase_if(held_, [&](const ChoicePtr& held) { return held.get() == &choice; });
  ReportSoon();
  if (--request->open > 0) return;
  requests_.erase(request->id);
  request->choices.clear();
  if (draining_ && requests_.empty() && drained_) {
    Report();
    std::exchange(drained_, nullptr)();
  }
}

// ---- reports ----

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

// The time since the last time belongs to those that ran, in equal parts.
void Driver::Account() {
  const Nanos now = Now();
  const auto passed = static_cast<uint64_t>(std::max<Nanos>(now - std::exchange(accounted_at_, now), 0));
  for (size_t i = 0; i < running_.size(); ++i) {
    const Request& request = *running_[i]->request;
    steps_[request.submit.model()].shares[request.id] +=
        passed * (i + 1) / running_.size() - passed * i / running_.size();
  }
}

bool Driver::OneAtATime() const {
  return std::ranges::any_of(models_,
                             [](const auto& one) { return one.second->can && !one.second->can->together; });
}

uint32_t Driver::Limit() const {
  return OneAtATime() ? 1 : concurrency_.limit();
}

uint32_t Driver::Begun() const {
  return static_cast<uint32_t>(std::ranges::count_if(running_, [](const Choice* one) { return one->first; }));
}

void Driver::Leave(const Choice& choice) {
  if (std::ranges::find(running_, &choice) == running_.end()) return;
  if (choice.first) ++ended_;
  Account();
  std::erase_if(running_, [&](const Choice* one) { return one == &choice; });
  ReportSoon();
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

// ---- the upstream comes and goes ----

void Driver::TellModel(const Model& model) {
  wire::FromEngine message;
  *message.mutable_model() = model.state;
  send_(message);
}

void Driver::SetState(Model& model, wire::ModelState::State state, std::string error) {
  if (model.state.state() == state && model.state.error() == error && state != wire::ModelState::LOADING)
    return;
  model.state.set_state(state);
  model.state.set_error(error);
  if (state == wire::ModelState::FAILED) spdlog::warn("model {}: {}", model.load.name(), error);
  TellModel(model);
}

void Driver::LookSoon() {
  look_again_ = true;
  look_.cancel();
}

void Driver::Lost(const std::string& why) {
  up_ = false;
  down_why_ = fmt::format("engine {}: {}: {}", options_.name, where_, why);
  upstream_->CloseIdle();
  concurrency_ = Concurrency(options_.concurrency);  // who comes back may be another
  for (const auto& [name, model] : std::map(models_)) {
    model->can.reset();
    if (model->words.tokenizer) SetState(*model, wire::ModelState::FAILED, down_why_);
  }
  LookSoon();
}

asio::awaitable<void> Driver::Watch() {
  const std::weak_ptr<char> alive = alive_;
  Nanos retry = options_.first_retry;
  while (true) {
    Nanos wait = options_.probe;
    if (std::exchange(look_again_, false) || !Answering()) {
      const auto body = co_await upstream_->Fetch("/v1/models", "");
      if (alive.expired()) co_return;
      const auto listed = body ? ParseModels(*body) : std::unexpected(body.error());
      if (listed) {
        up_ = true;
        retry = options_.first_retry;
        co_await Look(*listed);
        if (alive.expired()) co_return;
      } else {
        if (up_ || down_why_.empty()) spdlog::warn("{}: {}", where_, listed.error().message);
        up_ = true;
        Lost(listed.error().message);
        look_again_ = false;
        wait = retry;
        retry = std::min(2 * retry, options_.last_retry);
      }
    }
    if (look_again_) continue;
    look_.expires_after(std::chrono::nanoseconds(wait));
    co_await look_.async_wait(kTuple);
    if (alive.expired()) co_return;
  }
}

// It need not be asked whether it is there; one that does one thing at a time would break off what it does.
bool Driver::Answering() const {
  return !running_.empty() && (OneAtATime() || Now() - heard_ < options_.probe);
}

// A name that somebody wrote down is tried even if it is not listed: not every server lists what it serves.
std::string Driver::TheirName(const Model& model, const std::vector<UpstreamModel>& listed) const {
  const std::string& ours = model.load.name();
  const auto mapped = options_.names.find(ours);
  if (mapped != options_.names.end() && mapped->second == "*")
    return listed.size() == 1 ? listed.front().id : "";
  if (mapped != options_.names.end()) return mapped->second;
  return std::ranges::find(listed, ours, &UpstreamModel::id) == listed.end() ? "" : ours;
}

asio::awaitable<void> Driver::Look(std::vector<UpstreamModel> listed) {
  const std::weak_ptr<char> alive = alive_;
  for (const auto& [name, model] : std::map(models_)) {
    if (!model->words.tokenizer) continue;
    const std::string theirs = TheirName(*model, listed);
    if (theirs.empty()) {
      model->can.reset();
      SetState(*model, wire::ModelState::FAILED,
               fmt::format("engine {}: {} serves no model '{}'; it lists: {}", options_.name, where_, name,
                           Names(listed)));
      continue;
    }
    if (model->can && model->theirs == theirs) continue;
    model->theirs = theirs;
    const auto can = co_await Discover(
        upstream_,
        {.name = theirs, .tokenizer = model->words.tokenizer, .end_tokens = model->words.end_tokens});
    if (alive.expired()) co_return;
    if (const auto now = models_.find(name); now == models_.end() || now->second != model) continue;
    if (!can) {
      SetState(*model, wire::ModelState::FAILED,
               fmt::format("engine {}: {}, asked for '{}': {}; it lists: {}", options_.name, where_, theirs,
                           can.error().message, Names(listed)));
      continue;
    }
    model->can = *can;
    spdlog::info("model {}: the upstream at {} can: {}", name, upstream_->url().Text(), can->Text());
    uint32_t context = model->words.context;
    const auto entry = std::ranges::find(listed, theirs, &UpstreamModel::id);
    const uint32_t said = entry == listed.end() ? 0 : entry->context;
    for (const uint32_t limit : {said, model->load.context()}) {
      if (limit > 0) context = context == 0 ? limit : std::min(context, limit);
    }
    model->state.set_context(context);
    wire::FromEngine load;
    *load.mutable_heartbeat()->mutable_load() = Load();
    send_(load);
    SetState(*model, wire::ModelState::READY, "");
  }
}

}  // namespace penstock
