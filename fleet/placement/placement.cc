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

Verdict Judge(const Seat& seat, const Need& need) {
  switch (seat.model) {
    case Seat::Model::kAbsent:
      return Verdict::kAbsent;
    case Seat::Model::kForbidden:
      return Verdict::kForbidden;
    case Seat::Model::kLoading:
      return Verdict::kLoading;
    case Seat::Model::kFailed:
      return Verdict::kFailed;
    case Seat::Model::kReady:
      break;
  }
  const double longest = seat.stops_exactly ? need.longest : std::max(need.longest, need.longest_inexact);
  if (seat.longest > 0 && longest > seat.longest) return Verdict::kTooLong;
  if (seat.max_sequences == 0) return Verdict::kNoSequence;
  if (seat.sequences == 0) return Verdict::kFits;
  if (seat.sequences + need.sequences > seat.max_sequences) return Verdict::kNoSequence;
  return need.pages > seat.free_pages ? Verdict::kNoPages : Verdict::kFits;
}

namespace {

// Prompt tokens of one step, about: engines compute prompts in chunks, among the tokens that others decode.
constexpr double kChunk = 512;
// How much worse a second before the first token is than one among the others: somebody looks at nothing.
constexpr double kFirstToken = 4;

// A step that decodes what runs there and `more` sequences, and prompts as of late.
double StepWith(const Seat& seat, double more, double positions) {
  return seat.speed.Expect({.prefill = seat.chunk,
                            .decode = static_cast<double>(seat.sequences) + more,
                            .context = seat.context + positions});
}

// With the job among the others, half of its answer written.
double StepBeside(const Seat& seat, const Need& need) {
  return StepWith(seat, need.sequences, need.sequences * (need.prompt + need.output / 2));
}

// For so many prompt tokens, at the pace at which the engine comes to them.
double Prefill(const Seat& seat, double tokens) {
  const double decode =
      seat.speed.Expect({.decode = static_cast<double>(seat.sequences), .context = seat.context});
  return tokens * (seat.speed.prefill + decode / kChunk);
}

double OwnPrompt(const Seat& seat, const Need& need) {
  return std::max(need.prompt - seat.cached, 1.0);
}

}  // namespace

double ExpectedTime(const Seat& seat, const Need& need) {
  return Prefill(seat, seat.prefill + OwnPrompt(seat, need)) + need.output * StepBeside(seat, need);
}

double ExpectedCost(const Seat& seat, const Need& need) {
  const double first = Prefill(seat, seat.prefill + OwnPrompt(seat, need));
  const double delay = seat.speed.prefill * OwnPrompt(seat, need) +
                       need.output * (StepBeside(seat, need) - StepWith(seat, 0, 0));
  return kFirstToken * first + need.output * StepBeside(seat, need) + seat.sequences * delay;
}

Placement Place(std::span<const Seat> seats, const Need& need) {
  Placement best;
  double least = 0, next = 0;
  for (size_t i = 0; i < seats.size(); ++i) {
    const Verdict verdict = Judge(seats[i], need);
    best.verdict = std::min(best.verdict, verdict);
    if (verdict != Verdict::kFits) continue;
    const double cost = ExpectedCost(seats[i], need);
    if (!best.seat || cost < least) {
      best.second = std::exchange(best.seat, i);
      next = std::exchange(least, cost);
    } else if (!best.second || cost < next) {
      best.second = i;
      next = cost;
    }
  }
  if (best.seat) best.time = ExpectedTime(seats[*best.seat], need);
  if (best.second) best.second_time = ExpectedTime(seats[*best.second], need);
  return best;
}

}  // namespace penstock
