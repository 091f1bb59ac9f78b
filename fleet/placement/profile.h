// Profile: how long an engine's steps take, learnt from the steps themselves.
//
//   step time ≈ step + prefill · tokens + decode · tokens + context · positions looked back on
//
// The four numbers are the non-negative least squares over the recent steps, each step weighted so that its
// relative error counts. They change slowly; when a chip as a whole turns slower or faster (another tenant, a
// lower clock), `drift` follows within a few steps.
//
// Pure and deterministic. Threads: one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/clock.h"

namespace penstock {

struct StepShape {
  double prefill = 0;  // tokens computed and not sampled from
  double decode = 0;   // tokens sampled from
  double context = 0;  // positions that the sampled ones looked back on, together
};

// Nanoseconds. The defaults are what an engine is taken for until it has shown more.
struct Speed {
  double step = 10e6, prefill = 1e6, decode = 1e6, context = 1e3;

  double Expect(const StepShape& shape) const {
    return step + prefill * shape.prefill + decode * shape.decode + context * shape.context;
  }
  bool operator==(const Speed&) const = default;
};

class Profile {
 public:
  void Note(const StepShape& shape, Nanos took);

  // As of now: drift included.
  Speed speed() const;
  // What steps take of late, over what they used to: 10 is ten times slower.
  double drift() const;
  uint64_t steps() const { return steps_; }
  // Prompt tokens of its late steps, mean: what each decoded token has to share its step with.
  double chunk() const { return chunk_; }

 private:
  static constexpr std::size_t kTerms = 4;
  using Terms = std::array<double, kTerms>;

  Terms fit_ = {Speed().step, Speed().prefill, Speed().decode, Speed().context};
  std::array<Terms, kTerms> products_ = {};  // decayed sums of the weighted terms' products
  Terms targets_ = {};
  double log_drift_ = 0, chunk_ = 0;
  uint64_t steps_ = 0;
};

}  // namespace penstock
