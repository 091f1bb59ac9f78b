#include "gateway/request/generation.h"

#include <algorithm>
#include <atomic>
#include <boost/asio/post.hpp>
#include <deque>
#include <optional>

#include "gateway/request/admission.h"
#include "gateway/request/cookie.h"
#include "gateway/request/delivery.h"
#include "gateway/request/job.h"
#include "gateway/request/prompt.h"

namespace penstock::gateway {
namespace {

constexpr uint32_t kGrantAt = 64;  // accepted tokens that are worth a message to the engine
constexpr Nanos kKeepAlive = 10 * kSecond;

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
      if (owner.ended_) return;
      owner.ticket_->Event(EventName(event), why);
      owner.live_->state = LiveState(event);
    }
    void OnPlaced(const Placed& placed) override {
      owner.reported_ |= !placed.exact_usage;
      owner.delivery_->renderer().SetFingerprint(FingerprintOf(placed));
    }
    void OnTokens(const wire::TokenEvent& event) override { owner.OnTokens(*this, event); }
    void OnCharge(Nanos chip_time, uint32_t computed) override {
      owner.ticket_->Charged(chip_time, computed);
    }
    void OnFailed(const Error& error) override {
      job = 0;
      owner.Fail(ToApiError(error));
    }
    Generation& owner;
    uint32_t first;  // its first choice's index in the answer
    JobId job = 0;   // 0: none, or ended
    uint32_t choices_left = 0;
    int64_t emitted = 0;
    bool cached = false;  // its choices share one prompt, which is counted once
  };
  // What a choice's client has to accept before it is billed, and granted to the engine again.
  struct Pending {
    uint32_t unbilled = 0, ungranted = 0;
    Nanos last_event = 0;
  };

  void Encode(const ModelEntry& entry);
  void OnEncoded(ApiResult<EncodedPrompts> encoded);
  Status Open(const EncodedPrompts& encoded);
  void Submit(EncodedPrompts encoded);
  void OnDurable(const Status& status);
  void OnTokens(Part& part, const wire::TokenEvent& event);
  void Take(Part& part, const wire::TokenEvent& event);
  void Count(Part& part, uint32_t index, const wire::TokenEvent& event);
  void Deliver(Part& part, uint32_t index, std::string_view text, const Logprobs& logprobs,
               wire::Finish finish);
  void Write(Part& part, uint32_t index);
  void SendWhole();
  void Accepted(const Cookie& cookie);
  void Grant(uint32_t index, uint32_t tokens);
  void OnLimit(int64_t limit);
  bool PastLimit(int64_t more) const;
  void Cut();
  void StopEngines();
  AnswerUsage UsageNow() const;
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
  std::optional<IdempotencyKeys::Hold> hold_;  // on the request's Idempotency-Key
  std::unique_ptr<Ticket> ticket_;
  LiveRequests::iterator live_;  // valid while the ticket is open
  std::optional<Delivery> delivery_;
  std::deque<Part> parts_;
  std::vector<Pending> pending_;                           // by choice
  std::vector<std::pair<Part*, wire::TokenEvent>> early_;  // tokens that came before the record was durable
  int64_t reasoning_tokens_ = 0;
  bool reported_ = false;           // an engine had a part in it that counts as its upstream does
  std::atomic<bool> gone_ = false;  // tells the workers that nobody waits for the prompt
  bool durable_ = false, ended_ = false;
  Nanos first_token_ = 0, last_write_ = 0;
  std::string out_;  // scratch
};

void Generation::Begin() {
  reply_->Listen(shared_from_this());
  const auto admitted = Admit(shared_, request_.principal, request_.chat.model);
  if (!admitted) return Refuse(admitted.error());
  if (!request_.idempotency_key.empty()) {
    auto hold = shared_.idempotency.Reserve(request_.principal.key, request_.idempotency_key,
                                            shared_.clock.Monotonic());
    if (!hold) return Refuse(ToApiError(hold.error()));
    hold_ = *std::move(hold);
  }
  Encode(**admitted);
}

void Generation::Encode(const ModelEntry& entry) {
  text_ = entry.text;
  context_ = entry.context;
  NameIgnored(*text_, request_.chat);
  shared_.encoder.Encode({.text = *text_,
                          .request = request_.chat,
                          .context = context_,
                          .team = request_.principal.team,
                          .body_bytes = request_.body_bytes,
                          .policy = shared_.control_tokens,
                          .gone = gone_},
                         [self = shared_from_this()](ApiResult<EncodedPrompts> encoded) {
                           self->OnEncoded(std::move(encoded));
                         });
}

// Room in the queue, the ticket, the queue: nothing comes between, so what is refused has left no record.
void Generation::OnEncoded(ApiResult<EncodedPrompts> encoded) {
  if (ended_) return;
  request_.memory.Release();
  if (!encoded) return Refuse(encoded.error());
  if (const Status room = shared_.fleet.HasRoom(encoded->prompts.size()); !room) {
    return Refuse(ToApiError(room.error()));
  }
  if (const Status opened = Open(*encoded); !opened) return Refuse(ToApiError(opened.error()));
  shared_.log.Debug("opened", "{}: {} tokens of prompt, {} choices", ticket_->id(), encoded->tokens(),
                    delivery_->choices());
  Submit(*std::move(encoded));
  if (ended_) return;
  ticket_->OnLimit([weak = weak_from_this()](int64_t limit) {
    if (const auto self = weak.lock()) self->OnLimit(limit);
  });
  ticket_->WhenDurable([weak = weak_from_this()](const Status& status) {
    if (const auto self = weak.lock()) self->OnDurable(status);
  });
}

Status Generation::Open(const EncodedPrompts& encoded) {
  const Principal& principal = request_.principal;
  PENSTOCK_ASSIGN(ticket_, shared_.accounts.Open(principal, request_.chat.model, encoded.tokens()));
  if (hold_) hold_->Confirm(ticket_->id());
  live_ = shared_.status.live.insert(shared_.status.live.end(), {.ticket = ticket_.get(),
                                                                 .model = request_.chat.model,
                                                                 .team_name = principal.team_name,
                                                                 .team = principal.team,
                                                                 .key = principal.key,
                                                                 .arrived = arrived_});
  delivery_.emplace(request_.chat, encoded.prompts.size(), encoded.start, encoded.echoes,
                    request_.renderer(request_.chat, ticket_->id(), *text_->tokenizer));
  pending_.resize(delivery_->choices());
  return {};
}

void Generation::Submit(EncodedPrompts encoded) {
  const JobFacts facts{.context = shared_,
                       .request = request_,
                       .text = *text_,
                       .model_context = context_,
                       .seed = request_.chat.seed.value_or(shared_.seeds()),
                       .limit = ticket_->limit(),
                       .deadline = arrived_ + shared_.queue_timeout};
  for (size_t i = 0; i < encoded.prompts.size(); ++i) {
    Part& part = parts_.emplace_back(*this, static_cast<uint32_t>(i * request_.chat.choices));
    part.choices_left = request_.chat.choices;
    const auto id = shared_.fleet.Submit(MakeJob(facts, std::move(encoded.prompts[i]), i),
                                         std::shared_ptr<JobSink>(shared_from_this(), &part));
    if (!id) return Fail(ToApiError(id.error()));
    part.job = *id;
  }
}

void Generation::OnDurable(const Status& status) {
  if (ended_) return;
  if (!status) return Fail(ToApiError(Unstored(status.error().message)));
  durable_ = true;
  if (request_.chat.stream) {
    HttpResponse head;
    head.content_type = delivery_->renderer().content_type(true);
    head.headers = Headers() + "cache-control: no-cache, no-store\r\nx-accel-buffering: no\r\n";
    reply_->Start(head);
    last_write_ = shared_.clock.Monotonic();
  }
  for (const auto& [part, event] : std::exchange(early_, {})) {
    if (!ended_) Take(*part, event);
  }
  if (!ended_ && PastLimit(1)) Cut();
}

std::string Generation::Headers() const {
  std::string headers = fmt::format("x-request-id: {}\r\n", ticket_->id());
  if (!request_.chat.ignored.empty()) {
    headers += fmt::format("x-penstock-ignored: {}\r\n", HeaderList(request_.chat.ignored));
  }
  headers += QueueHeaders(shared_.max_waiting, shared_.fleet.Waiting());
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
  if (event.choice() >= request_.chat.choices || !delivery_->IsOpen(index)) {
    return Fail(
        ToApiError({Code::kInternal, "the engine answered a choice that was not asked for, or had ended"}));
  }
  if (PastLimit(event.new_tokens())) return Cut();  // these were on their way when the limit fell
  Count(part, index, event);
  const wire::Finish finish = event.finish();
  if (finish != wire::NONE && --part.choices_left == 0) part.job = 0;
  if (finish == wire::ERROR || finish == wire::CANCELLED) {
    return Fail(ToApiError({Code::kInternal, "the engine gave up this request", Reason::kEngineGaveUp}));
  }
  Deliver(part, index, event.text(), event.logprobs(), finish);
  if (!ended_ && PastLimit(1)) Cut();
}

void Generation::Count(Part& part, uint32_t index, const wire::TokenEvent& event) {
  const Nanos now = shared_.clock.Monotonic();
  const uint32_t tokens = event.new_tokens();
  if (tokens > 0 && first_token_ == 0) {
    first_token_ = now;
    ticket_->Event("first_token", "");
  }
  Pending& pending = pending_[index];
  if (pending.last_event > 0) shared_.metrics.InterToken(now - pending.last_event);
  pending.last_event = now;
  pending.unbilled += tokens;
  pending.ungranted += tokens;
  if (event.cached_tokens() > 0 && !std::exchange(part.cached, true)) ticket_->Cached(event.cached_tokens());
  if (event.has_reported()) {
    ticket_->Event("reported", fmt::format("the engine's server counts {} + {} tokens",
                                           event.reported().prompt(), event.reported().completion()));
  }
  ticket_->Emitted(tokens);
  part.emitted += tokens;
  if (delivery_->IsReasoning(index)) reasoning_tokens_ += tokens;
}

void Generation::Deliver(Part& part, uint32_t index, std::string_view text, const Logprobs& logprobs,
                         wire::Finish finish) {
  out_.clear();
  delivery_->Add(index, text, logprobs, finish, out_);
  if (request_.chat.stream) return Write(part, index);
  if (delivery_->done()) SendWhole();
}

// Hands out_ to the client.
void Generation::Write(Part& part, uint32_t index) {
  Pending& pending = pending_[index];
  if (out_.empty()) {
    Grant(index, std::exchange(pending.ungranted, 0));  // nothing that the client could be slow to take
    return;
  }
  const bool last = delivery_->done();
  if (last) delivery_->EndStream(UsageNow(), out_);
  const Cookie cookie{.choice = index,
                      .bill = std::exchange(pending.unbilled, 0),
                      .grant = part.job == 0 ? 0 : std::exchange(pending.ungranted, 0),
                      .last = last};
  last_write_ = shared_.clock.Monotonic();
  const bool accepted = last ? reply_->Finish(out_, cookie.Pack()) : reply_->Write(out_, cookie.Pack());
  if (accepted) Accepted(cookie);
}

AnswerUsage Generation::UsageNow() const {
  const TokenCounts counts = ticket_->counts();
  return {.prompt = counts.prompt,
          .cached = counts.cached,
          .completion = counts.emitted,
          .reasoning = reasoning_tokens_};
}

void Generation::SendWhole() {
  HttpResponse response;
  response.content_type = delivery_->renderer().content_type(false);
  response.headers = Headers();
  delivery_->Whole(UsageNow(), response.body);
  const Cookie cookie{.last = true};
  if (reply_->Send(response, cookie.Pack())) Accepted(cookie);
}

// ---- the limit ----

// Whether `more` output tokens are more than the request may have.
bool Generation::PastLimit(int64_t more) const {
  const auto limit = ticket_->limit();
  return limit && ticket_->counts().emitted + more > *limit;
}

void Generation::OnLimit(int64_t limit) {
  if (ended_) return;
  const int64_t left = limit - ticket_->counts().emitted;
  if (left <= 0) {
    if (durable_) Cut();  // else once it is durable
    return;
  }
  for (const Part& part : parts_) {
    if (part.job != 0) shared_.fleet.Limit(part.job, static_cast<uint64_t>(part.emitted + left));
  }
}

// Ends every choice that is open with "length".
void Generation::Cut() {
  const auto self = shared_from_this();
  StopEngines();
  for (uint32_t index = 0; index < delivery_->choices() && !ended_; ++index) {
    if (delivery_->IsOpen(index)) Deliver(PartOf(index), index, {}, Logprobs(), wire::LENGTH);
  }
}

void Generation::StopEngines() {
  for (Part& part : parts_) {
    if (part.job != 0) shared_.fleet.Cancel(std::exchange(part.job, 0));
  }
}

// ---- the client accepted it ----

// The only place that bills (teams/teams.h has the rule).
void Generation::Accepted(const Cookie& cookie) {
  if (ended_) return;
  const int64_t tokens = request_.chat.stream ? cookie.bill : ticket_->counts().emitted;
  ticket_->Billed(tokens);
  if (tokens > 0 && reported_) ticket_->Reported(tokens);
  if (cookie.last) return End(200, delivery_->outcome(), "");
  Pending& pending = pending_[cookie.choice];
  pending.ungranted += cookie.grant;
  if (pending.ungranted >= kGrantAt) Grant(cookie.choice, std::exchange(pending.ungranted, 0));
}

void Generation::Grant(uint32_t index, uint32_t tokens) {
  const Part& part = PartOf(index);
  if (part.job != 0 && tokens > 0) shared_.fleet.Grant(part.job, index - part.first, tokens);
}

void Generation::OnTick(Nanos now) {
  if (!ended_ && shared_.accounts.IsRevoked(request_.principal.shown)) return Fail(RevokedMeanwhile());
  if (ended_ || !durable_ || !request_.chat.stream || now - last_write_ < kKeepAlive) return;
  last_write_ = now;
  out_.clear();
  const std::string note =
      first_token_ > 0 ? "waiting" : fmt::format("waiting; {} jobs in the queue", shared_.fleet.Waiting());
  delivery_->renderer().KeepAlive(note, out_);
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
  const bool streaming = durable_ && request_.chat.stream;
  const std::string id = ticket_ ? ticket_->id() : "";
  const HttpResponse response = request_.render_error(error);
  End(response.status, "error", error.message);
  if (!streaming) {
    reply->Send(WithRequestId(response, id), Reply::kNoCookie);
    return;
  }
  out_.clear();
  delivery_->renderer().StreamError(error, out_);
  reply->Finish(out_, Reply::kNoCookie);
}

void Generation::End(int status, std::string_view outcome, std::string_view detail) {
  if (std::exchange(ended_, true)) return;
  gone_ = true;
  StopEngines();
  RequestEnd end;
  if (ticket_) {
    end.id = ticket_->id();
    end.usage = ticket_->usage();
    shared_.status.live.erase(live_);
    ticket_->End(outcome, detail);
  }
  // A request that delivered nothing may be sent again under its Idempotency-Key.
  if (hold_ && (!ticket_ || end.usage.input == 0)) hold_->Release();
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
