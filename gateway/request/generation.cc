#include "gateway/request/generation.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <deque>

#include "gateway/request/admission.h"
#include "gateway/request/cookie.h"
#include "gateway/request/prompt.h"

namespace penstock::gateway {
namespace {

constexpr uint32_t kCredits = 256;  // tokens a choice may be ahead of its client
constexpr uint32_t kGrantAt = 64;   // accepted tokens that are worth a message to the engine
constexpr Nanos kKeepAlive = 10 * kSecond;

std::string_view FinishName(wire::Finish finish) {
  return finish == wire::LENGTH ? "length" : "stop";
}

std::string_view EventName(JobEvent event) {
  switch (event) {
    case JobEvent::kQueued:
      return "queued";
    case JobEvent::kSent:
      return "sent";
    case JobEvent::kAdmitted:
      return "admitted";
    case JobEvent::kPaused:
      return "paused";
    case JobEvent::kResumed:
      return "resumed";
    case JobEvent::kRequeued:
      return "requeued";
  }
  return "";
}

std::string_view LiveState(JobEvent event) {
  switch (event) {
    case JobEvent::kQueued:
    case JobEvent::kRequeued:
      return "waiting";
    case JobEvent::kPaused:
      return "paused";
    default:
      return "running";
  }
}

class Generation final : public Reply::Listener, public std::enable_shared_from_this<Generation> {
 public:
  Generation(GenerationContext& context, GenerationRequest request, std::shared_ptr<Reply> reply)
      : shared_(context),
        request_(std::move(request)),
        reply_(std::move(reply)),
        arrived_(context.clock.Monotonic()) {
    ++shared_.status.open_requests;
  }
  ~Generation() override { --shared_.status.open_requests; }

  void Begin();

  void OnAccepted(uint64_t cookie) override { Accepted(Cookie::Unpack(cookie)); }
  void OnGone(std::string_view why) override { End(499, "cancelled", why); }
  void OnTick(Nanos now) override;

 private:
  // One job: a prompt with its choices.
  struct Part final : JobSink {
    Part(Generation& owner, uint32_t first) : owner(owner), first(first) {}
    void OnEvent(JobEvent event, std::string_view why) override {
      if (!owner.ticket_ || owner.ended_) return;
      owner.ticket_->Event(EventName(event), why);
      owner.live_->state = LiveState(event);
    }
    void OnPlaced(const Placed& placed) override {
      owner.reported_ |= !placed.exact_usage;
      if (owner.renderer_) owner.renderer_->SetFingerprint(FingerprintOf(placed));
    }
    void OnTokens(const wire::TokenEvent& event) override { owner.OnTokens(*this, event); }
    void OnCharge(Nanos chip_time, uint32_t computed) override {
      if (owner.ticket_) owner.ticket_->Charged(chip_time, computed);
    }
    void OnFailed(const Error& error) override {
      job = 0;
      owner.Fail(ToApiError(error));
    }
    Generation& owner;
    uint32_t first;  // its first choice's index in the answer
    JobId job = 0;   // 0: none, or ended
    uint32_t choices_left = 0;
    bool cached = false;  // its choices share one prompt, which is counted once
  };
  struct Choice {
    ReasoningSplitter splitter;
    ChoiceAnswer answer;
    uint32_t unbilled = 0, ungranted = 0;
    bool begun = false, ended = false;
    Nanos last_event = 0;
  };

  void Encode(const ModelEntry& entry);
  void OnEncoded(ApiResult<EncodedPrompts> encoded);
  std::optional<ApiError> Submit(EncodedPrompts encoded);
  std::optional<ApiError> Open(int64_t prompt_tokens);
  void OnDurable(const Status& status);
  void OnTokens(Part& part, const wire::TokenEvent& event);
  void Take(Part& part, const wire::TokenEvent& event);
  void Count(Part& part, Choice& choice, const wire::TokenEvent& event);
  void Stream(Part& part, uint32_t index, const wire::TokenEvent& event, bool last);
  void Collect(uint32_t index, const wire::TokenEvent& event);
  void Split(Choice& choice, const wire::TokenEvent& event);
  void SendWhole();
  void Accepted(const Cookie& cookie);
  void Grant(uint32_t index, uint32_t tokens);
  Part& PartOf(uint32_t choice) { return parts_[choice / request_.chat.choices]; }
  void Refuse(const ApiError& error);
  void Fail(const ApiError& error);
  void End(int status, std::string_view outcome, std::string_view detail);
  std::string Headers() const;

  GenerationContext& shared_;
  GenerationRequest request_;
  std::shared_ptr<Reply> reply_;
  const Nanos arrived_;
  ModelTextPtr text_;
  uint32_t context_ = 0;
  std::unique_ptr<Ticket> ticket_;
  LiveRequests::iterator live_;  // valid while the ticket is open
  std::unique_ptr<Renderer> renderer_;
  std::deque<Part> parts_;
  std::vector<Choice> choices_;
  std::vector<std::pair<Part*, wire::TokenEvent>> early_;  // tokens that came before the record was durable
  AnswerUsage usage_;
  bool reported_ = false;  // an engine had a part in it that counts as its upstream does
  size_t choices_left_ = 0;
  bool durable_ = false, ended_ = false, cut_by_length_ = false;
  Nanos first_token_ = 0, last_write_ = 0;
  std::string out_, reasoning_, answer_;  // scratch
};

void Generation::Begin() {
  reply_->Listen(shared_from_this());
  const auto entry = Admit(shared_, request_.principal, request_.chat.model, request_.idempotency_key);
  if (!entry) return Refuse(entry.error());
  Encode(**entry);
}

// ---- to the engine ----

void Generation::Encode(const ModelEntry& entry) {
  text_ = entry.text;
  context_ = entry.context;
  if (request_.body_bytes <= kInlineBody) {
    OnEncoded(EncodePrompts(*text_, request_.chat, context_));
    return;
  }
  boost::asio::post(shared_.pool, [self = shared_from_this()]() mutable {
    auto encoded = EncodePrompts(*self->text_, self->request_.chat, self->context_);
    // Moved, not copied: the generation must end its life on the io thread.
    boost::asio::post(self->shared_.io, [self = std::move(self), encoded = std::move(encoded)]() mutable {
      self->OnEncoded(std::move(encoded));
    });
  });
}

void Generation::OnEncoded(ApiResult<EncodedPrompts> encoded) {
  if (ended_) return;
  if (!encoded) return Refuse(encoded.error());
  const int64_t prompt_tokens = encoded->tokens();
  auto error = Submit(*std::move(encoded));
  if (!error) error = Open(prompt_tokens);
  if (error) return Refuse(*error);
  usage_.prompt = prompt_tokens;
  shared_.log.Debug("opened", "{}: {} tokens of prompt, {} choices", ticket_->id(), prompt_tokens,
                    choices_.size());
  if (!request_.idempotency_key.empty()) {
    shared_.idempotency.Remember(request_.principal.key, request_.idempotency_key, ticket_->id(),
                                 shared_.clock.Monotonic());
  }
  ticket_->WhenDurable([weak = weak_from_this()](const Status& status) {
    if (const auto self = weak.lock()) self->OnDurable(status);
  });
}

std::optional<ApiError> Generation::Submit(EncodedPrompts encoded) {
  const ChatRequest& chat = request_.chat;
  choices_.resize(encoded.prompts.size() * chat.choices);
  choices_left_ = choices_.size();
  for (Choice& choice : choices_) choice.splitter = ReasoningSplitter(encoded.start);
  const uint64_t seed = chat.seed.value_or(shared_.seeds());
  for (size_t i = 0; i < encoded.prompts.size(); ++i) {
    for (uint32_t c = 0; c < chat.choices && chat.echo; ++c) {
      choices_[i * chat.choices + c].answer.text = encoded.echoes[i];
    }
    Part& part = parts_.emplace_back(*this, static_cast<uint32_t>(i * chat.choices));
    part.choices_left = chat.choices;
    Job job{.submit = ToSubmit(*text_, chat, std::move(encoded.prompts[i]), i, context_, seed),
            .variants = shared_.models.VariantsFor(request_.principal, chat.model),
            .owner = {static_cast<uint64_t>(request_.principal.team)},
            .owner_name = request_.principal.team_name,
            .external_allowed = request_.principal.external,
            .deadline = arrived_ + shared_.queue_timeout};
    if (chat.kind == ChatRequest::Kind::kChat && shared_.fleet.WantsText())
      job.submit.set_chat(fmt::format("{{\"messages\":{}{}}}", chat.messages, chat.template_members));
    job.submit.set_prefix_scope(fmt::format("team{}", request_.principal.team));
    job.submit.set_credits(chat.stream ? kCredits : 0);
    const auto id = shared_.fleet.Submit(std::move(job), std::shared_ptr<JobSink>(shared_from_this(), &part));
    if (!id) return ToApiError(id.error());
    part.job = *id;
  }
  return std::nullopt;
}

std::optional<ApiError> Generation::Open(int64_t prompt_tokens) {
  auto ticket = shared_.accounts.Open(request_.principal, request_.chat.model, prompt_tokens);
  if (!ticket) return ToApiError(ticket.error());
  ticket_ = *std::move(ticket);
  live_ = shared_.status.live.insert(shared_.status.live.end(), {.id = ticket_->id(),
                                                                 .model = request_.chat.model,
                                                                 .team_name = request_.principal.team_name,
                                                                 .team = request_.principal.team,
                                                                 .key = request_.principal.key,
                                                                 .prompt = prompt_tokens,
                                                                 .arrived = arrived_});
  renderer_ = request_.renderer(request_.chat, ticket_->id());
  return std::nullopt;
}

void Generation::OnDurable(const Status& status) {
  if (ended_) return;
  if (!status) {
    return Fail(
        ToApiError({Code::kUnavailable, fmt::format("usage cannot be stored ({}), so nothing was run; tell "
                                                    "the operator",
                                                    status.error().message)}));
  }
  durable_ = true;
  if (request_.chat.stream) {
    HttpResponse head;
    head.content_type = renderer_->content_type(true);
    head.headers = Headers() + "cache-control: no-cache\r\nx-accel-buffering: no\r\n";
    reply_->Start(head);
    last_write_ = shared_.clock.Monotonic();
  }
  for (const auto& [part, event] : std::exchange(early_, {})) {
    if (!ended_) Take(*part, event);
  }
}

std::string Generation::Headers() const {
  std::string headers = fmt::format("x-request-id: {}\r\n", ticket_->id());
  if (!request_.chat.ignored.empty()) {
    headers += fmt::format("x-penstock-ignored: {}\r\n", HeaderList(request_.chat.ignored));
  }
  // What the queue has room for. Tokens are not limited, so nothing is said of them.
  const size_t most = shared_.max_waiting, waiting = std::min(most, shared_.fleet.Waiting());
  fmt::format_to(std::back_inserter(headers),
                 "x-ratelimit-limit-requests: {}\r\nx-ratelimit-remaining-requests: {}\r\n", most,
                 most - waiting);
  return headers;
}

// ---- tokens ----

void Generation::OnTokens(Part& part, const wire::TokenEvent& event) {
  if (ended_) return;
  if (durable_) {
    Take(part, event);
  } else {
    early_.emplace_back(&part, event);
  }
}

void Generation::Take(Part& part, const wire::TokenEvent& event) {
  const uint32_t index = part.first + event.choice();
  if (event.choice() >= request_.chat.choices || choices_[index].ended) {
    return Fail(
        ToApiError({Code::kInternal, "the engine answered a choice that was not asked for, or had ended"}));
  }
  Count(part, choices_[index], event);
  const wire::Finish finish = event.finish();
  choices_[index].ended = finish != wire::NONE;
  if (finish != wire::NONE && --part.choices_left == 0) part.job = 0;
  if (finish == wire::ERROR || finish == wire::CANCELLED) {
    return Fail(ToApiError({Code::kInternal, "the engine gave up this request", Reason::kEngineGaveUp}));
  }
  if (finish != wire::NONE) --choices_left_;
  cut_by_length_ |= finish == wire::LENGTH;
  Split(choices_[index], event);
  if (request_.chat.stream) {
    Stream(part, index, event, choices_left_ == 0);
  } else {
    Collect(index, event);
  }
}

void Generation::Count(Part& part, Choice& choice, const wire::TokenEvent& event) {
  const Nanos now = shared_.clock.Monotonic();
  if (event.new_tokens() > 0 && first_token_ == 0) {
    first_token_ = now;
    ticket_->Event("first_token", "");
  }
  if (choice.last_event > 0) shared_.metrics.InterToken(now - choice.last_event);
  choice.last_event = now;
  if (event.cached_tokens() > 0 && !std::exchange(part.cached, true)) {
    ticket_->Cached(event.cached_tokens());
    usage_.cached += event.cached_tokens();
  }
  if (event.has_reported()) {
    ticket_->Event("reported", fmt::format("the engine's server counts {} + {} tokens",
                                           event.reported().prompt(), event.reported().completion()));
  }
  ticket_->Emitted(event.new_tokens());
  usage_.completion += event.new_tokens();
  live_->tokens = usage_.completion;
  if (choice.splitter.thinking()) usage_.reasoning += event.new_tokens();
}

// Parts the event's text into reasoning_ and answer_.
void Generation::Split(Choice& choice, const wire::TokenEvent& event) {
  choice.splitter.Feed(event.text(), reasoning_, answer_);
  if (event.finish() == wire::NONE || choice.splitter.off()) return;
  std::string reasoning, answer;
  choice.splitter.End(reasoning, answer);
  reasoning_ += reasoning;
  answer_ += answer;
}

void Generation::Stream(Part& part, uint32_t index, const wire::TokenEvent& event, bool last) {
  Choice& choice = choices_[index];
  choice.unbilled += event.new_tokens();
  choice.ungranted += event.new_tokens();
  if (!choice.begun && !choice.answer.text.empty()) answer_.insert(0, choice.answer.text);  // echo
  const bool silent = answer_.empty() && reasoning_.empty() && event.logprobs().empty();
  if (silent && event.finish() == wire::NONE) {
    Grant(index, std::exchange(choice.ungranted, 0));  // nothing that the client could be slow to take
    return;
  }
  out_.clear();
  if (!silent || !choice.begun) {
    renderer_->Piece({.choice = index,
                      .text = answer_,
                      .reasoning = reasoning_,
                      .logprobs = &event.logprobs(),
                      .first = !choice.begun},
                     out_);
    choice.begun = true;
  }
  if (event.finish() != wire::NONE) renderer_->ChoiceEnd(index, FinishName(event.finish()), out_);
  if (last) renderer_->StreamEnd(usage_, out_);
  const Cookie cookie{.choice = index,
                      .bill = std::exchange(choice.unbilled, 0),
                      .grant = part.job == 0 ? 0 : std::exchange(choice.ungranted, 0),
                      .last = last};
  last_write_ = shared_.clock.Monotonic();
  const bool accepted = last ? reply_->Finish(out_, cookie.Pack()) : reply_->Write(out_, cookie.Pack());
  if (accepted) Accepted(cookie);
}

void Generation::Collect(uint32_t index, const wire::TokenEvent& event) {
  ChoiceAnswer& answer = choices_[index].answer;
  answer.text += answer_;
  answer.reasoning += reasoning_;
  answer.logprobs.MergeFrom(event.logprobs());
  if (event.finish() != wire::NONE) answer.finish = FinishName(event.finish());
  if (choices_left_ == 0) SendWhole();
}

void Generation::SendWhole() {
  std::vector<ChoiceAnswer> answers;
  answers.reserve(choices_.size());
  for (Choice& choice : choices_) answers.push_back(std::move(choice.answer));
  HttpResponse response;
  response.content_type = renderer_->content_type(false);
  response.headers = Headers();
  renderer_->Whole(answers, usage_, response.body);
  const Cookie cookie{.last = true};
  if (reply_->Send(response, cookie.Pack())) Accepted(cookie);
}

// ---- the client took it ----

void Generation::Accepted(const Cookie& cookie) {
  if (ended_) return;
  const int64_t tokens = request_.chat.stream ? cookie.bill : usage_.completion;
  if (tokens > 0) ticket_->Billed(tokens);
  if (tokens > 0 && reported_) ticket_->Reported(tokens);
  if (cookie.last) return End(200, cut_by_length_ ? "length" : "stop", "");
  Choice& choice = choices_[cookie.choice];
  choice.ungranted += cookie.grant;
  if (choice.ungranted >= kGrantAt) Grant(cookie.choice, std::exchange(choice.ungranted, 0));
}

void Generation::Grant(uint32_t index, uint32_t tokens) {
  const Part& part = PartOf(index);
  if (part.job != 0 && tokens > 0) shared_.fleet.Grant(part.job, index - part.first, tokens);
}

void Generation::OnTick(Nanos now) {
  if (ended_ || !durable_ || !request_.chat.stream || now - last_write_ < kKeepAlive) return;
  last_write_ = now;
  out_.clear();
  const std::string note =
      first_token_ > 0 ? "waiting" : fmt::format("waiting; {} jobs in the queue", shared_.fleet.Waiting());
  renderer_->KeepAlive(note, out_);
  reply_->Write(out_, Reply::kNoCookie);
}

// ---- ends ----

// Nothing ran, or nothing that left a record.
void Generation::Refuse(const ApiError& error) {
  const auto reply = reply_;
  const HttpResponse response = request_.render_error(error);
  End(response.status, "refused", error.message);
  reply->Send(WithRequestId(response), Reply::kNoCookie);
}

// The request ran and failed.
void Generation::Fail(const ApiError& error) {
  if (ended_) return;
  const auto self = shared_from_this();
  const auto reply = reply_;
  if (usage_.completion == 0 && !request_.idempotency_key.empty()) {
    shared_.idempotency.Forget(request_.principal.key, request_.idempotency_key);
  }
  const bool streaming = durable_ && request_.chat.stream;
  const std::string id = ticket_ ? ticket_->id() : "";
  const HttpResponse response = request_.render_error(error);
  End(response.status, "error", error.message);
  if (!streaming) {
    reply->Send(WithRequestId(response, id), Reply::kNoCookie);
    return;
  }
  out_.clear();
  renderer_->StreamError(error, out_);
  reply->Finish(out_, Reply::kNoCookie);
}

void Generation::End(int status, std::string_view outcome, std::string_view detail) {
  if (std::exchange(ended_, true)) return;
  for (Part& part : parts_) {
    if (part.job != 0) shared_.fleet.Cancel(std::exchange(part.job, 0));
  }
  RequestEnd end;
  if (ticket_) {
    end.id = ticket_->id();
    end.usage = ticket_->usage();
    shared_.status.live.erase(live_);
    ticket_->End(outcome, detail);
  }
  end.team = request_.principal.team_name;
  end.key = request_.principal.key_name;
  if (shared_.models.Find(request_.chat.model) != nullptr) end.model = request_.chat.model;
  end.endpoint = request_.endpoint;
  end.status = status;
  end.outcome = outcome;
  end.detail = detail;
  if (first_token_ > 0) end.first_token = first_token_ - arrived_;
  end.duration = shared_.clock.Monotonic() - arrived_;
  shared_.metrics.Ended(end);
  shared_.metrics.HttpAnswer(status);
  shared_.log.Ended(end);
  reply_.reset();
}

}  // namespace

void BeginGeneration(GenerationContext& context, GenerationRequest request, std::shared_ptr<Reply> reply) {
  std::make_shared<Generation>(context, std::move(request), std::move(reply))->Begin();
}

}  // namespace penstock::gateway
