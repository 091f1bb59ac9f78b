#include "fleet/placement.h"

#include <algorithm>

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
    case Verdict::kFailed:
      return "the model could not be loaded";
    case Verdict::kAbsent:
      return "no engine that holds the model is connected";
  }
  return "";
}

Verdict Judge(const Seat& seat, const Need& need) {
  switch (seat.model) {
    case Seat::Model::kAbsent:
      return Verdict::kAbsent;
    case Seat::Model::kLoading:
      return Verdict::kLoading;
    case Seat::Model::kFailed:
      return Verdict::kFailed;
    case Seat::Model::kReady:
      break;
  }
  if (seat.sequences == 0) return Verdict::kFits;
  if (seat.sequences + need.sequences > seat.max_sequences) return Verdict::kNoSequence;
  return need.pages > seat.free_pages ? Verdict::kNoPages : Verdict::kFits;
}

// Smaller share of its sequences taken; of equals the one with more free pages.
static bool LessLoaded(const Seat& a, const Seat& b) {
  const uint64_t left = uint64_t{a.sequences} * b.max_sequences,
                 right = uint64_t{b.sequences} * a.max_sequences;
  return left != right ? left < right : a.free_pages > b.free_pages;
}

Placement Place(std::span<const Seat> seats, const Need& need) {
  Placement best;
  for (size_t i = 0; i < seats.size(); ++i) {
    const Verdict verdict = Judge(seats[i], need);
    best.verdict = std::min(best.verdict, verdict);
    if (verdict != Verdict::kFits) continue;
    if (!best.seat || LessLoaded(seats[i], seats[*best.seat])) best.seat = i;
  }
  return best;
}

}  // namespace penstock
