// The step planner: what one step computes, as a pure function of plain data.
//
// There is no prefill phase and no decode phase, only tokens still to compute:
//   1. a running sequence with one token left always goes first: no prompt stalls a running stream;
//   2. the rest of the step's budget goes to longer remainders, in chunks, oldest first;
//   3. then waiting sequences are admitted, oldest first, while their pages fit; none overtakes another.
// A sequence gets the pages of all its known tokens when it is admitted, and one more page for every
// kPageTokens tokens. If no page is left, the youngest sequence returns all its pages and waits (it continues
// from the state that the runner saved, or is computed again; bit-equal). Sequences that wait for their
// readers are preempted before all others. The oldest is never preempted for younger ones, so it always ends:
// no deadlock, no starvation.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runner/step.h"

namespace penstock {

struct PlanLimits {
  int32_t step_tokens = 512;  // prompts are chunked to what decoding leaves of it, but never below 1/4
  int32_t free_slots = 64;    // sequences that may still be admitted
};

// A sequence that has its pages. Ordered by age: lower ids are older.
struct RunningView {
  SequenceId id = 0;
  int32_t remaining = 0;    // tokens known and not computed; ≥ 1
  bool needs_page = false;  // its next token begins a page that it does not have
  bool starved = false;     // its reader has given no credit: nothing may be computed
  int32_t held_pages = 0;   // pages that become free if it is preempted
};

// A sequence that could be admitted (credits in hand, nothing to wait for), by age.
struct WaitingView {
  SequenceId id = 0;
  int32_t remaining = 0;     // without the tokens that the prefix cache has; ≥ 1
  int32_t pages_needed = 0;  // new pages, and cached pages without another user
};

struct PlanInput {
  std::span<const RunningView> running;
  std::span<const WaitingView> waiting;
  int32_t available_pages = 0;  // free pages, and cached pages without a user
};

struct PlanDecision {
  struct Share {
    SequenceId id = 0;
    int32_t tokens = 0;
  };
  std::vector<SequenceId> preempt;  // before anything else
  std::vector<SequenceId> admit;    // in this order
  std::vector<Share> work;          // running sequences, then admitted ones
};

PlanDecision DecideStep(const PlanInput& input, const PlanLimits& limits);

}  // namespace penstock
