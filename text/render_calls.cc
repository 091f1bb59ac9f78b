#include "text/render_calls.h"

#include <cstring>
#include <utility>

#include "text/render_protocol.h"

namespace penstock {

bool RenderCalls::Takes(const TemplateSource& source, Nanos now) const {
  const auto avoided = avoided_.find(source.id);
  return avoided == avoided_.end() || avoided->second <= now;
}

void RenderCalls::Add(const TemplateSource& source, std::string context_json, Done done) {
  calls_.push_back({.number = ++last_number_,
                    .source = &source,
                    .context = std::move(context_json),
                    .done = std::move(done)});
  Send(calls_.back());
}

void RenderCalls::Send(const Call& call) {
  const bool known = !known_.insert(call.source->id).second;
  const RenderQuestion question{.id = call.source->id,
                                .source_size = known ? 0 : call.source->text.size(),
                                .context_size = call.context.size(),
                                .render = true};
  unsent_ += BytesOf(question);
  if (!known) unsent_ += call.source->text;
  unsent_ += call.context;
}

bool RenderCalls::Received(std::string_view bytes) {
  received_ += bytes;
  size_t at = 0;
  while (received_.size() - at >= sizeof(RenderAnswer)) {
    RenderAnswer answer;
    std::memcpy(&answer, received_.data() + at, sizeof answer);
    if (answer.size > kLargestRenderAnswer || calls_.empty()) return false;
    if (received_.size() - at - sizeof answer < answer.size) break;
    std::string text = received_.substr(at + sizeof answer, answer.size);
    at += sizeof answer + answer.size;
    const Call call = std::move(calls_.front());
    calls_.pop_front();
    call.done(ToResult(answer.status, std::move(text)));
  }
  received_.erase(0, at);
  return true;
}

bool RenderCalls::MustEnd(Nanos now, Nanos cpu) {
  if (calls_.empty()) return known_.size() > RenderProcess::kMostTemplates;
  const uint64_t oldest = calls_.front().number;
  if (watched_.call != oldest) {
    watched_ = {.call = oldest, .since = now, .cpu = cpu};
    return false;
  }
  return cpu - watched_.cpu >= kCpuLimit || now - watched_.since >= kTimeLimit;
}

void RenderCalls::Ended(Nanos now) {
  unsent_.clear();
  received_.clear();
  known_.clear();
  std::deque<Call> calls = std::exchange(calls_, {});
  if (calls.empty()) return;
  const uint64_t blamed = calls.front().source->id;
  avoided_[blamed] = now + kAvoid;
  for (Call& call : calls) {
    if (call.source->id == blamed) {
      call.done(std::nullopt);
    } else {
      Add(*call.source, std::move(call.context), std::move(call.done));
    }
  }
}

void RenderCalls::GiveUp() {
  unsent_.clear();
  for (const Call& call : std::exchange(calls_, {})) call.done(std::nullopt);
}

}  // namespace penstock
