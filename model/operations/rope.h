// Rotary position embedding (Su et al. 2021) and its scaling methods.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/files/config.h"

namespace penstock {

// The angles of one model's rotation: pair i of a token at position p is rotated by p · frequency[i].
class Rope {
 public:
  // `factors`: GGUF's rope_freqs.weight, by which the frequencies are divided (GGUF's form of llama3
  // scaling); empty: none. REQUIRES: empty, or rotary_dim / 2 factors.
  Rope(const ModelConfig& config, std::span<const float> factors);

  // [rotary_dim / 2] each. Computed as in transformers, with the angle in f32.
  void CosSin(int32_t position, float* cos, float* sin) const;
  int32_t pairs() const { return static_cast<int32_t>(frequencies_.size()); }

 private:
  std::vector<float> frequencies_;
  double magnitude_ = 1;  // multiplies cos and sin (yarn)
};

}  // namespace penstock
