#include "fleet/placement.h"

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
    case Verdict::kWorthWaiting:
      return "a faster engine will be free sooner than the slower one would be done";
    case Verdict::kLoading:
      return "the model is being loaded";
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
  if (seat.max_sequences == 0) return Verdict::kNoSequence;
  if (seat.sequences == 0) return Verdict::kFits;
  if (seat.sequences + need.sequences > seat.max_sequences) return Verdict::kNoSequence;
  return need.pages > seat.free_pages ? Verdict::kNoPages : Verdict::kFits;
}

namespace {

// A step with the job among the others, half of its answer written.
double StepBeside(const Seat& seat, const Need& need) {
  return seat.speed.Expect({.decode = static_cast<double>(seat.sequences) + need.sequences,
                            .context = seat.context + need.sequences * (need.prompt + need.output / 2)});
}

double Prefill(const Seat& seat, const Need& need) {
  return seat.speed.prefill * std::max(need.prompt - seat.cached, 1.0);
}

}  // namespace

double ExpectedTime(const Seat& seat, const Need& need) {
  return seat.speed.prefill * seat.prefill + Prefill(seat, need) + need.output * StepBeside(seat, need);
}

double ExpectedCost(const Seat& seat, const Need& need) {
  const double alone =
      seat.speed.Expect({.decode = static_cast<double>(seat.sequences), .context = seat.context});
  const double delay = Prefill(seat, need) + need.output * (StepBeside(seat, need) - alone);
  return ExpectedTime(seat, need) + seat.sequences * delay;
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
