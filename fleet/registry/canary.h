// Canary: a few fixed prompts whose answers are known, asked of an engine before it gets traffic and again
// from time to time. A chip that answers wrongly is worse than a dead one.
//
// Agrees is pure. What the truth is, and when to ask, is the fleet's to say (fleet/registry/prover.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/wire.pb.h"

namespace penstock {

// A question: greedy, without an end, the same length always.
struct CanaryPrompt {
  std::vector<int32_t> tokens;
  std::string text;  // the same, for engines that read text
};
constexpr uint32_t kCanaryTokens = 8;

struct CanaryToken {
  int32_t id = -1;
  float logprob = 0;
  float gap = 0;  // to the next best token's, ≥ 0; 0: unknown
  std::string text;
};
struct CanaryAnswer {
  std::vector<CanaryToken> tokens;  // none where the engine tells text only
  std::string text;
};

// How far two engines may differ where they do not promise the same bits: the top two tokens this close may
// change places (what follows is another text then), and a token's log-probability may be off by so much.
constexpr float kNearTie = 0.5F, kLogprobTolerance = 0.5F;
// The same where they do promise it.
constexpr float kExactTolerance = 1e-3F;

// Adds what one event says.
void Append(const wire::TokenEvent& event, CanaryAnswer& answer);

// Errors (kCorrupt) say at which token they part, and how.
Status Agrees(const CanaryAnswer& truth, const CanaryAnswer& given, bool same_contract);

// The submission that asks `prompt`, without `request`.
wire::Submit AskCanary(const std::string& model, const CanaryPrompt& prompt);

}  // namespace penstock
