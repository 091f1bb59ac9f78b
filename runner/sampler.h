// The sampler: one row of logits and a request's wishes → the next token.
//
// In order, as vLLM and transformers do it:
//   1. log-probabilities, if asked for, from the raw logits;
//   2. repetition penalty (prompt and output), then frequency and presence penalties (output only);
//   3. logit_bias (after the penalties, so that −100 bans a token whatever they did);
//   4. temperature; below 1e-5 the best token is taken, of equals the one with the lowest id;
//   5. top_k, then top_p over what it left, then min_p;
//   6. a draw by base/random.h's Draw(seed, position): the same whenever the sequence is recomputed.
// Every sum runs through kernels::softmax or in ascending order of probability rank or id, so that the
// token does not depend on the kernel version or on who else is in the batch.
#pragma once

#include <span>
#include <vector>

#include "base/result.h"
#include "kernels/kernels.h"
#include "runner/step.h"

namespace penstock {

// Memory that one thread reuses from call to call.
struct SamplerScratch {
  std::vector<float> probabilities;
  std::vector<std::pair<float, Token>> candidates;
};

// `logits`: the row of `step`'s last token, one per token of the vocabulary; changed by the call.
// Tokens outside the vocabulary in history or logit_bias are ignored.
// Errors: kInternal if a logit is NaN or +∞ (damaged weights).
Result<Sampled> Sample(const kernels::Kernels& kernels, const SequenceStep& step, std::span<float> logits,
                       SamplerScratch& scratch);

}  // namespace penstock
