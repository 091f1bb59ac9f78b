// Rotary position embedding (Su et al. 2021) and the ways to stretch it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "model/files/config.h"

namespace penstock {

// Angles of one model's rotation: pair i of a token at position p turns by p · frequency[i].
class Rope {
 public:
  // `factors`: GGUF's rope_freqs.weight, by which frequencies are divided (how GGUF states llama3
  // scaling); empty: none. REQUIRES: empty or rotary_dim / 2 of them.
  Rope(const ModelConfig& config, std::span<const float> factors);

  // [rotary_dim / 2] each. Computed as transformers does: the angle in f32.
  void CosSin(int32_t position, float* cos, float* sin) const;
  int32_t pairs() const { return static_cast<int32_t>(frequencies_.size()); }

 private:
  std::vector<float> frequencies_;
  double magnitude_ = 1;  // on cos and sin (yarn)
};

}  // namespace penstock
