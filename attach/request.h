// What an upstream can do, and a Submit translated into a request for it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/tokens.h"
#include "engine/wire.pb.h"

namespace penstock {

// Found by asking (attach/discover.h), never by the name of a server.
struct Can {
  enum class Prompt : uint8_t { kTokens, kText, kChat };
  enum class Ids : uint8_t { kNone, kField, kLogprobs };  // where the ids of an answer's tokens come from
  Prompt prompt = Prompt::kTokens;
  Ids ids = Ids::kNone;
  bool stream_usage = false, logprobs = false, stop = false, ignore_eos = false, seed = false;
  bool top_k = false, min_p = false, logit_bias = false;
  std::optional<int> top_k_off = {};  // the value by which top_k is off
  bool presence_penalty = false, frequency_penalty = false;
  bool together = true;            // an answer is not broken off when another request comes
  std::string repetition_penalty;  // the field's name there; empty: it has none

  bool operator==(const Can&) const = default;
  // One line for logs and tables: "prompt tokens, ids field, stream usage, no logprobs, …".
  std::string Text() const;
};

// The prompt of one choice, what another engine emitted of it included.
struct PromptParts {
  std::vector<Token> tokens;
  std::string text;  // the same; where the upstream takes no tokens
};

// The path and body of the request for choice `choice` of `submit`. Errors (kUnsupported): names the field
// that this upstream cannot do. `end_tokens`: those at which the model ends an answer by itself. `lenient`:
// what it cannot do is left out.
struct UpstreamRequest {
  std::string path, body;
};
struct RequestFacts {
  std::string_view model;  // as the upstream calls it
  std::span<const Token> end_tokens;
  uint32_t emitted = 0;  // by other engines before
};
Result<UpstreamRequest> MakeRequest(const Can& can, const wire::Submit& submit, uint32_t choice,
                                    const PromptParts& prompt, const RequestFacts& facts);

}  // namespace penstock
