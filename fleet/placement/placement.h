// Placement: which engine takes a job. A pure function of plain data, so that `penstock why` and sim/ can
// ask it the same question.
//
// Of the engines that have room, the one with the least expected cost goes: the time until the job would be
// done there, that before its first token weighed more, and the time by which it would delay those that
// already run there. So a fast chip gets more than a slow one, prompts go where prefill is relatively cheap,
// and a prefix that an engine still holds counts as computed.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>

#include "base/clock.h"
#include "fleet/placement/engine_key.h"
#include "fleet/placement/profile.h"

namespace penstock {

// One engine, for one variant of the job's model.
struct Candidate {
  enum class Model : uint8_t { kAbsent, kLoading, kReady, kFailed, kForbidden };
  EngineKey engine = 0;
  std::string_view variant = {};  // owned by the registry
  Model model = Model::kAbsent;   // the variant there
  uint32_t sequences = 0;         // sent and not ended
  uint32_t max_sequences = 0;
  uint32_t may_pause = 0;     // sequences of others that the engine may pause to run this job
  uint32_t free_pages = 0;    // as last reported, less what was promised since
  uint32_t longest = 0;       // tokens of the longest text that it has memory for; 0: it does not say
  bool stops_exactly = true;  // an answer can be stopped there before its memory ends, to go on elsewhere
  Speed speed = {};           // of this model there
  double prefill = 0;         // prompt tokens sent and not computed yet
  double chunk = 0;           // prompt tokens of its late steps, mean
  double context = 0;         // positions that its sequences hold, together
  double cached = 0;          // tokens of this job's prompt that its prefix cache should still hold
  bool external = false;      // outside the organisation
  bool resumes = false;       // can go on with an answer that another engine began

  bool operator==(const Candidate&) const = default;
};

constexpr double kFirstOutput = 64;  // tokens of an answer, before any was counted

struct Need {
  uint32_t sequences = 1;
  uint32_t pages = 0;            // of the prompt
  double longest = 0;            // tokens that must find room: of the longest of its texts
  double longest_inexact = 0;    // the same where it cannot be stopped exactly
  double prompt = 0;             // tokens
  double output = kFirstOutput;  // tokens of each sequence, as far as can be guessed
};

// In order of how close the engine is to taking the job.
enum class Verdict : uint8_t {
  kFits,
  kNoPages,
  kNoSequence,
  kLoading,
  kTooLong,
  kFailed,
  kForbidden,
  kAbsent
};
std::string_view VerdictText(Verdict verdict);

// An idle engine fits unless it says itself that the text is too long: what else is too large is for it to
// say.
Verdict Judge(const Candidate& candidate, const Need& need);

// Nanoseconds until the job would be done there, if what runs there now went on meanwhile.
double ExpectedTime(const Candidate& candidate, const Need& need);
// The same, with the first token weighed more, and by how much it would delay those that run there.
double ExpectedCost(const Candidate& candidate, const Need& need);

struct Placement {
  std::optional<Candidate> chosen;     // the cheapest that fits
  Verdict verdict = Verdict::kAbsent;  // of the candidate that came closest
  double time = 0;                     // expected at `chosen`
  // The next best that fits, to explain the choice.
  std::optional<Candidate> second;
  double second_time = 0;
};
Placement Place(std::span<const Candidate> candidates, const Need& need);

// How a pool places its jobs: Place, or what a simulation compares it with.
using PlacePolicy = std::function<Placement(std::span<const Candidate> candidates, const Need& need)>;

}  // namespace penstock
