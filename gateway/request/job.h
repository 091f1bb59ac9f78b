// The fleet's jobs of a generation, and the words for what happens to them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "fleet/fleet.h"
#include "gateway/request/generation.h"
#include "gateway/request/prompt.h"

namespace penstock::gateway {

constexpr uint32_t kCredits = 256;  // tokens that a streamed choice may be ahead of its client

// What is the same for every job of one generation.
struct JobFacts {
  const GenerationContext& context;
  const GenerationRequest& request;
  const ModelText& text;
  uint32_t model_context = 0;  // the longest sequence, in tokens; 0: unknown
  uint64_t seed = 0;
  std::optional<int64_t> limit = {};  // Ticket::limit
  Nanos deadline = 0;                 // monotonic
};
// The job of prompt number `index`.
Job MakeJob(const JobFacts& facts, std::vector<Token> prompt, size_t index);

// What the queue has room for, as headers. Tokens are not limited, so nothing is said of them.
std::string QueueHeaders(size_t most, size_t waiting);

std::string_view EventName(JobEvent event);  // in a request's trace
std::string_view LiveState(JobEvent event);  // LiveRequest::state after it

}  // namespace penstock::gateway
