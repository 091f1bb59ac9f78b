// Canary: a few fixed prompts whose answers are known. An engine is asked them before it gets traffic and
// again from time to time, because a chip that answers wrongly is worse than a dead one.
//
// Agrees is pure. The fleet decides which answers are right, and when to ask (fleet/registry/prover.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/wire.pb.h"

namespace penstock {

// A question. It is answered greedily, past any end of text, always with kCanaryTokens tokens.
struct CanaryPrompt {
  std::vector<int32_t> tokens;
  std::string text;  // the same prompt, for engines that read text
};
constexpr uint32_t kCanaryTokens = 8;

struct CanaryToken {
  int32_t id = -1;
  float logprob = 0;
  float gap = 0;  // between its log-probability and the next best token's, ≥ 0; 0: unknown
  std::string text;
};
struct CanaryAnswer {
  std::vector<CanaryToken> tokens;  // none where the engine reports text only
  std::string text;
};

// How far two engines may differ where they do not promise the same bits: two top tokens that are closer than
// kNearTie may change places (what follows is another text then), and a token's log-probability may differ by
// kLogprobTolerance.
constexpr float kNearTie = 0.5F, kLogprobTolerance = 0.5F;
// The same where they promise it.
constexpr float kExactTolerance = 1e-3F;

// Appends the content of one event.
void Append(const wire::TokenEvent& event, CanaryAnswer& answer);

// Errors (kCorrupt) name the first token at which they differ, and how.
Status Agrees(const CanaryAnswer& truth, const CanaryAnswer& given, bool same_contract);

// The submission that asks `prompt`; `request` is left to the caller.
wire::Submit AskCanary(const std::string& model, const CanaryPrompt& prompt);

}  // namespace penstock
