// The answer of one choice: waiting for its turn, the request to the upstream, its output, its end.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <utility>

#include "attach/driver_parts.h"
#include "engine/wire_error.h"

namespace penstock {
namespace {

namespace asio = boost::asio;
constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);
constexpr size_t kLongestError = 64 << 10;
constexpr Nanos kRest = 200 * kMillisecond;

// Another kind of engine may accept what an upstream refuses with a 4xx. 401, 403 and 404 concern our key and
// our name for the model: the client cannot fix them.
Code CodeOfStatus(int status) {
  if (status == 413) return Code::kTooLarge;
  const bool ours = status == 401 || status == 403 || status == 404;
  return status >= 400 && status < 500 && !ours ? Code::kUnsupported : Code::kUnavailable;
}

}  // namespace

// Sends waiting requests up to the limit.
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
            FailChoice(*choice,
                       {Code::kInternal, fmt::format("engine {} failed: {}", options_.name, error.what()),
                        Reason::kEngineGaveUp});
            Pump();
          }
        });
  }
}

asio::awaitable<void> Driver::Run(ChoicePtr choice) {
  const std::weak_ptr<char> alive = alive_;
  std::optional<Error> lost;
  {
    Upstream::Call call(upstream_);
    choice->call = &call;
    Status status = co_await upstream_->Start(call, choice->ask.path, choice->ask.body);
    if (alive.expired()) co_return;
    const bool refused = status && (call.head().status() == 429 || call.head().status() == 503);
    if (!choice->ended && !status) {
      lost = status.error();
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
        FailChoice(*choice, Reworded(status.error(), fmt::format("{}: {}", where_, status.error().message)));
      }
    }
    choice->call = nullptr;
  }
  Leave(*choice);
  if (lost && !choice->ended) {
    FailChoice(*choice, Reworded(*lost, fmt::format("{}: {}", where_, lost->message)));
    Lost(*lost);
  }
  Pump();
}

// The upstream has no room: the request is sent again later, unseen by the client.
bool Driver::TryLater(const ChoicePtr& choice, int64_t retry_after, const std::string& said) {
  const Nanos now = Now();
  concurrency_.Refused(choice->sent, now);
  if (now - choice->queued > options_.refused_for) {
    FailChoice(*choice, {Code::kOverloaded, fmt::format("{} has had no room for {} s: {}", where_,
                                                        (now - choice->queued) / kSecond, said)});
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
    co_return Fail(CodeOfStatus(status), "it answered with status {}: {}", status, text);
  }
  if (call.head().content_type() != "text/event-stream") {
    // Some servers send a whole answer although a stream was requested.
    if (call.head().content_type() != "application/json")
      co_return Fail(Code::kUnavailable, "it answered with {}, not with a stream of events",
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
    co_return Fail(Code::kUnavailable, "its stream ended without a finish_reason");
  EndAsUpstream(choice);
  // To the end of the body, so that the connection can be used again.
  while (call.head().status() == 200 && !call.head().done()) {
    const auto rest = co_await call.Read(kRest);
    if (!rest || rest->empty()) break;
  }
  co_return Status();
}

// Stops reading while the client has no credits left, so that the upstream's buffers fill and it waits.
// Tokens beyond the credits that were already read are reported.
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
    return Fail(Code::kUnavailable, "its answer is a tool call, which is not supported yet");
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
    const uint64_t room = std::min<uint64_t>(
        request.rules.max_tokens - std::min(request.rules.max_tokens, before), request.LimitLeft());
    const auto tokens = static_cast<uint32_t>(std::min<uint64_t>(choice.counter.Push(chunk.text), room));
    wire::TokenEvent& event = EventOf(choice);
    choice.output.TakeText(chunk.text, tokens, event);
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
  // Closes the upstream request at once where the upstream cannot know that this is the end: at a stop string
  // or token that the client named.
  const auto& ends = request.model->words.end_tokens;
  const bool knows = choice.end == wire::LENGTH || std::ranges::any_of(ends, [&](Token token) {
                       return choice.stop == std::to_string(token);
                     });
  if (choice.done && !knows) Settle(choice);
  if (more > 0) ApplyLimit(request);
}

void Driver::TakeIds(Choice& choice, const UpstreamChunk& chunk) {
  const Request& request = *choice.request;
  const size_t told = request.can.ids == Can::Ids::kField ? chunk.ids.size() : chunk.logprobs.size();
  for (size_t i = 0; i < told && !choice.done && request.LimitLeft() > 0; ++i) {
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

// An end by our rules is reported when the upstream has also reported its usage.
void Driver::NoteEnd(Choice& choice, wire::TokenEvent& event) {
  if (event.finish() == wire::NONE) return;
  choice.done = true;
  choice.end = event.finish();
  choice.stop = event.stop();
  event.clear_finish();
  event.clear_stop();
}

// The upstream ended the answer before a rule of ours did.
void Driver::EndAsUpstream(Choice& choice) {
  const Request& request = *choice.request;
  if (choice.done) return Settle(choice);
  if (choice.finish == "length") return End(choice, wire::LENGTH);
  // The end token counts as a token, as in our own engines. Upstreams show it only in their usage.
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

// Ends a choice before its rules end it.
void Driver::FailChoice(Choice& choice, const Error& error) {
  End(choice, wire::ERROR, &error);
}

void Driver::End(Choice& choice, wire::Finish finish, const Error* error) {
  if (choice.ended) return;
  wire::TokenEvent& event = EventOf(choice);
  if (!choice.done) {
    choice.output.End(finish, event);
    NoteEnd(choice, event);
    if (error != nullptr) {
      SetError(*error, event);
      spdlog::warn("request {}: {}", choice.request->id, error->message);
    }
  }
  Settle(choice);
}

// Reports the end of a choice and closes its upstream request.
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

}  // namespace penstock
