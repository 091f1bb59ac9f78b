// Placement: which engine takes a job. A pure function of plain data, so that `penstock why` and sim/ can
// ask it the same question.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace penstock {

// One engine as placing sees it.
struct Seat {
  enum class Model : uint8_t { kAbsent, kLoading, kReady, kFailed };
  Model model = Model::kAbsent;  // the job's model there
  uint32_t sequences = 0;        // sent and not ended
  uint32_t max_sequences = 0;
  uint32_t free_pages = 0;  // as last reported, less what was promised since
};

struct Need {
  uint32_t sequences = 1;
  uint32_t pages = 0;  // of the prompt
};

// In order of how close the engine is to taking the job.
enum class Verdict : uint8_t { kFits, kNoPages, kNoSequence, kLoading, kFailed, kAbsent };
std::string_view VerdictText(Verdict verdict);

// An idle engine always fits: whether the job is too large for it is then the engine's to say.
Verdict Judge(const Seat& seat, const Need& need);

struct Placement {
  std::optional<size_t> seat;          // the least loaded one that fits
  Verdict verdict = Verdict::kAbsent;  // the closest that any seat came
};
Placement Place(std::span<const Seat> seats, const Need& need);

}  // namespace penstock
