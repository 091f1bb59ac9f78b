// The seam between the scheduler and whatever executes a step: plain data, no pointer into a model,
// no thread, no instruction set.
//
//   StepPlan → Runner::Submit → StepResult
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/tokens.h"

namespace penstock {

using ModelId = uint32_t;     // a loaded model in one engine
using SequenceId = uint64_t;  // a sequence in one engine, never used twice

// How the next token is chosen from the logits. OpenAI's fields with vLLM's additions; defaults are
// the neutral values. Draws depend on (seed, position) only, so a recomputed sequence draws the same.
struct Sampling {
  float temperature = 1.0F;  // 0: greedy (ties go to the lowest id)
  int32_t top_k = 0;         // 0: off
  float top_p = 1.0F;
  float min_p = 0.0F;
  float repetition_penalty = 1.0F;  // over prompt and output (CTRL, Keskar et al. 2019)
  float presence_penalty = 0.0F;    // over output only, as OpenAI defines it
  float frequency_penalty = 0.0F;
  std::vector<std::pair<Token, float>> logit_bias;
  uint64_t seed = 0;
  int32_t top_logprobs = -1;  // -1: no logprobs; 0: the chosen token's only; else so many alternatives
};

// Tokens of one sequence to compute in this step; there is no prefill or decode, only tokens still to
// compute.
struct SequenceStep {
  SequenceId sequence = 0;
  int32_t start = 0;          // absolute position of tokens[0]; everything before is in the pages
  std::vector<Token> tokens;  // ≥ 1
  std::vector<PageId> pages;  // covers [0, start + tokens.size()); runners without a page table ignore it
  bool sample = false;        // choose a token from the last token's logits
  Sampling sampling;          // read only if `sample`
  // Read only if `sample` and a penalty is on: what was in the sequence, in order, tokens[] included.
  std::vector<Token> history;
  int32_t prompt_tokens = 0;  // how many of `history` are prompt
};

// Executed in order, before the step's work.
struct SequenceOp {
  enum class Kind : uint8_t {
    kCopyPage,  // page `to` becomes a copy of page `from` (a fork's last, partly filled page)
    kZeroPage,  // page `to` forgets what it held: nobody needs it, and another owner may get it
    // For runners that have room aside (LoadedModel::aside_pages): a sequence that is paused keeps what it
    // computed, at most once, under its id.
    kSave,     // the first `tokens` tokens of `from`, which are in `pages`, are put aside
    kRestore,  // `pages`, new to `to`, get its first `tokens` tokens back; nothing of it stays aside
    kDrop,     // what was put aside of `from`, if anything, is not needed
  };
  Kind kind = Kind::kCopyPage;
  PageId from_page = -1, to_page = -1;
  SequenceId from = 0, to = 0;
  int32_t tokens = 0;
  std::vector<PageId> pages = {};
};

// A page of any loaded model that nobody needs any more: it forgets what it held, and its memory goes back to
// the system until it is written again.
struct FreedPage {
  ModelId model = 0;
  PageId page = -1;
};

struct StepPlan {
  ModelId model = 0;             // one model a step
  std::vector<FreedPage> freed;  // before everything else; only of models that are `on_demand`
  std::vector<SequenceOp> ops;
  std::vector<SequenceStep> work;  // empty: only `freed` is to be done
};

struct TokenLogprob {
  Token token = -1;
  float logprob = 0;
};

struct Sampled {
  SequenceId sequence = 0;
  Token token = -1;
  float logprob = 0;              // of `token`, before temperature and penalties; if asked for
  std::vector<TokenLogprob> top;  // if asked for
};

struct StepResult {
  std::vector<Sampled> sampled;  // one per work item with `sample`, in the plan's order
  Nanos chip_time = 0;           // measured: what fairness charges
};

// What the planner may know of a loaded model.
struct LoadedModel {
  ModelId id = 0;
  int32_t vocabulary = 0;
  int32_t context = 0;       // the longest sequence, tokens
  int32_t pages = 0;         // KV pages that this model can have at most
  int64_t weight_bytes = 0;  // measured: resident
  int64_t page_bytes = 0;
  std::string kernel;       // e.g. "avx512": named in every bench row
  int32_t aside_pages = 0;  // pages' worth that it can put aside of paused sequences (SequenceOp::kSave)
  // False: it keeps a running state in place of keys and values, which no other sequence can go on from.
  bool shares_pages = true;
  // True: a page takes memory from its first write until it is in StepPlan::freed, and the pages of all such
  // models share one budget (Scheduler::SetKvBudget). False: the memory of all pages was taken at load.
  bool on_demand = false;
};

}  // namespace penstock
