// Sequence: one choice of one request as the scheduler sees it. Plain data.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runner/step.h"
#include "sched/prefix_cache.h"

namespace penstock {

struct NewSequence {
  ModelId model = 0;
  std::vector<Token> prompt;  // ≥ 1 token
  int32_t generated = 0;      // how many of the last ones are already output: another engine began it
  int64_t max_tokens = 1;     // how many tokens it may add; checked against the memory
  Sampling sampling;
  std::string prefix_scope;  // empty: shares nothing
  int64_t credits = -1;      // tokens it may be given before Grant; negative: no limit
  // The first choice of the same request, whose prompt this one shares; 0: none.
  SequenceId lead = 0;
};

struct Sequence {
  // Constant.
  SequenceId id = 0;
  int32_t prompt_tokens = 0;
  Sampling sampling;
  int64_t credits = -1;
  SequenceId lead = 0;
  PrefixCache::Serial root = 0;

  std::vector<Token> tokens;       // the prompt, then what was sampled
  int32_t computed = 0;            // tokens whose keys and values are in `pages`
  std::vector<PageId> pages;       // of all known tokens while running; none while waiting
  int32_t saved = 0;               // while waiting: how many of `tokens` the runner has saved
  int32_t remembered = 0;          // full pages offered to the prefix cache
  PrefixCache::Serial serial = 0;  // of the last of those; 0: nothing more is offered
  int32_t cached_tokens = 0;       // prompt tokens found in the prefix cache at the first admission
  bool admitted_before = false;
  bool starved_told = false;

  int32_t known() const { return static_cast<int32_t>(tokens.size()); }
  int32_t remaining() const { return known() - computed; }
  bool starved() const { return credits == 0; }
};

// An event of a sequence other than a token.
enum class Turn : uint8_t { kAdmitted, kPreempted, kResumed, kStarved };

}  // namespace penstock
