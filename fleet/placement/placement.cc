#include "fleet/placement/placement.h"

#include <algorithm>
#include <utility>

namespace penstock {

std::string_view VerdictText(Verdict verdict) {
  switch (verdict) {
    case Verdict::kFits:
      return "an engine is free";
    case Verdict::kNoPages:
      return "engine memory for its prompt is taken";
    case Verdict::kNoSequence:
      return "every engine runs as many requests as it can";
    case Verdict::kLoading:
      return "the model is being loaded";
    case Verdict::kTooLong:
      return "no engine that is there has memory for so long a text";
    case Verdict::kFailed:
      return "the model could not be loaded";
    case Verdict::kForbidden:
      return "the only engine that holds the model is outside the organisation, and the team's text may not "
             "go there";
    case Verdict::kAbsent:
      return "no engine that holds the model is connected";
  }
  return "";
}

Verdict Judge(const Candidate& candidate, const Need& need) {
  switch (candidate.model) {
    case Candidate::Model::kAbsent:
      return Verdict::kAbsent;
    case Candidate::Model::kForbidden:
      return Verdict::kForbidden;
    case Candidate::Model::kLoading:
      return Verdict::kLoading;
    case Candidate::Model::kFailed:
      return Verdict::kFailed;
    case Candidate::Model::kReady:
      break;
  }
  const double longest =
      candidate.stops_exactly ? need.longest : std::max(need.longest, need.longest_inexact);
  if (candidate.longest > 0 && longest > candidate.longest) return Verdict::kTooLong;
  if (candidate.max_sequences == 0) return Verdict::kNoSequence;
  if (candidate.sequences == 0) return Verdict::kFits;
  if (candidate.sequences + need.sequences > candidate.max_sequences + candidate.may_pause)
    return Verdict::kNoSequence;
  return need.pages > candidate.free_pages ? Verdict::kNoPages : Verdict::kFits;
}

namespace {

// Prompt tokens of one step, about: engines compute prompts in chunks, among the tokens that others decode.
constexpr double kChunk = 512;
// How much worse a second before the first token is than one among the others: somebody looks at nothing.
constexpr double kFirstToken = 4;

// A step that decodes what runs there and `more` sequences, and prompts as of late.
double StepWith(const Candidate& candidate, double more, double positions) {
  return candidate.speed.Expect({.prefill = candidate.chunk,
                                 .decode = static_cast<double>(candidate.sequences) + more,
                                 .context = candidate.context + positions});
}

// With the job among the others, half of its answer written.
double StepBeside(const Candidate& candidate, const Need& need) {
  return StepWith(candidate, need.sequences, need.sequences * (need.prompt + need.output / 2));
}

// For so many prompt tokens, at the pace at which the engine comes to them.
double Prefill(const Candidate& candidate, double tokens) {
  const double decode = candidate.speed.Expect(
      {.decode = static_cast<double>(candidate.sequences), .context = candidate.context});
  return tokens * (candidate.speed.prefill + decode / kChunk);
}

double OwnPrompt(const Candidate& candidate, const Need& need) {
  return std::max(need.prompt - candidate.cached, 1.0);
}

}  // namespace

double ExpectedTime(const Candidate& candidate, const Need& need) {
  return Prefill(candidate, candidate.prefill + OwnPrompt(candidate, need)) +
         need.output * StepBeside(candidate, need);
}

double ExpectedCost(const Candidate& candidate, const Need& need) {
  const double first = Prefill(candidate, candidate.prefill + OwnPrompt(candidate, need));
  const double delay = candidate.speed.prefill * OwnPrompt(candidate, need) +
                       need.output * (StepBeside(candidate, need) - StepWith(candidate, 0, 0));
  return kFirstToken * first + need.output * StepBeside(candidate, need) + candidate.sequences * delay;
}

Placement Place(std::span<const Candidate> candidates, const Need& need) {
  Placement placement;
  const Candidate *best = nullptr, *second = nullptr;
  double least = 0, next = 0;
  for (const Candidate& candidate : candidates) {
    const Verdict verdict = Judge(candidate, need);
    placement.verdict = std::min(placement.verdict, verdict);
    if (verdict != Verdict::kFits) continue;
    const double cost = ExpectedCost(candidate, need);
    if (best == nullptr || cost < least) {
      second = std::exchange(best, &candidate);
      next = std::exchange(least, cost);
    } else if (second == nullptr || cost < next) {
      second = &candidate;
      next = cost;
    }
  }
  if (best != nullptr) {
    placement.chosen = *best;
    placement.time = ExpectedTime(*best, need);
  }
  if (second != nullptr) {
    placement.second = *second;
    placement.second_time = ExpectedTime(*second, need);
  }
  return placement;
}

}  // namespace penstock
