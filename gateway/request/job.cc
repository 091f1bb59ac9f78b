#include "gateway/request/job.h"

#include <algorithm>
#include <limits>

namespace penstock::gateway {
namespace {

uint32_t RoomBeside(size_t prompt, uint32_t context) {
  if (context == 0) return std::numeric_limits<int32_t>::max();  // unknown; the engine knows
  return context - static_cast<uint32_t>(std::min<size_t>(prompt, context));
}

}  // namespace

Job MakeJob(const JobFacts& facts, std::vector<Token> prompt, size_t index) {
  const ChatRequest& chat = facts.request.chat;
  const Principal& principal = facts.request.principal;
  const size_t length = prompt.size();
  Job job{.submit = ToSubmit(facts.text, chat, std::move(prompt), index, facts.seed),
          .variants = facts.context.models.VariantsFor(principal, chat.model),
          .owner = {static_cast<uint64_t>(principal.team)},
          .owner_name = principal.team_name,
          .external_allowed = principal.external,
          .deadline = facts.deadline};
  wire::Submit& submit = job.submit;
  submit.set_max_tokens(OutputTokens(chat.max_tokens, facts.context.default_tokens.Of(chat.model),
                                     facts.context.max_tokens.Of(chat.model),
                                     RoomBeside(length, facts.model_context)));
  // An answer that continues a message cannot be asked for as a chat.
  if (chat.kind == ChatRequest::Kind::kChat && !chat.continues && facts.context.fleet.WantsText())
    submit.set_chat(fmt::format("{{\"messages\":{}{}}}", chat.messages, chat.template_members));
  submit.set_prefix_scope(fmt::format("team{}", principal.team));
  submit.set_credits(chat.stream ? kCredits : 0);
  // 0 would be no limit; a request that may have no output is ended by the gateway.
  if (facts.limit) submit.set_limit(static_cast<uint64_t>(std::max<int64_t>(*facts.limit, 1)));
  return job;
}

std::string QueueHeaders(size_t most, size_t waiting) {
  return fmt::format("x-ratelimit-limit-requests: {}\r\nx-ratelimit-remaining-requests: {}\r\n", most,
                     most - std::min(most, waiting));
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

}  // namespace penstock::gateway
