#include "model/operations/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace penstock {
namespace {

// The dimension that makes `rotations` full turns over the original context (YaRN, section 3.2).
double CorrectionDim(const ModelConfig& c, double rotations) {
  const auto context = static_cast<double>(c.scaling.original_context);
  return c.rotary_dim * std::log(context / (rotations * 2 * std::numbers::pi)) / (2 * std::log(c.rope_base));
}

// 1 where a frequency is kept, 0 where it is interpolated, with a linear ramp between.
double YarnKept(const ModelConfig& c, int32_t pair) {
  double low = CorrectionDim(c, c.scaling.beta_fast), high = CorrectionDim(c, c.scaling.beta_slow);
  if (c.scaling.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0), high = std::min(high, c.rotary_dim - 1.0);
  if (low == high) high += 0.001;
  return 1 - std::clamp((pair - low) / (high - low), 0.0, 1.0);
}

double Llama3(const RopeScaling& s, double frequency) {
  const auto context = static_cast<double>(s.original_context);
  const double wavelength = 2 * std::numbers::pi / frequency;
  if (wavelength > context / s.low_freq_factor) return frequency / s.factor;
  if (wavelength < context / s.high_freq_factor) return frequency;
  const double smooth = (context / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  return (1 - smooth) * frequency / s.factor + smooth * frequency;
}

double Scaled(const ModelConfig& c, double frequency, int32_t pair) {
  switch (c.scaling.kind) {
    case RopeScaling::Kind::kNone:
      return frequency;
    case RopeScaling::Kind::kLinear:
      return frequency / c.scaling.factor;
    case RopeScaling::Kind::kYarn: {
      const double kept = YarnKept(c, pair);
      return frequency / c.scaling.factor * (1 - kept) + frequency * kept;
    }
    case RopeScaling::Kind::kLlama3:
      return Llama3(c.scaling, frequency);
  }
  return frequency;
}

}  // namespace

Rope::Rope(const ModelConfig& c, std::span<const float> factors) {
  for (int32_t i = 0; i < c.rotary_dim / 2; ++i) {
    const double frequency = 1 / std::pow(c.rope_base, 2.0 * i / c.rotary_dim);
    const double divisor = factors.empty() ? 1 : factors[static_cast<size_t>(i)];
    frequencies_.push_back(static_cast<float>(Scaled(c, frequency, i) / divisor));
  }
  const bool yarn = c.scaling.kind == RopeScaling::Kind::kYarn;
  if (c.scaling.attention_factor != 0) {
    magnitude_ = c.scaling.attention_factor;
  } else if (yarn) {
    magnitude_ = 0.1 * std::log(c.scaling.factor) + 1;
  }
}

void Rope::CosSin(int32_t position, float* cos, float* sin) const {
  for (size_t i = 0; i < frequencies_.size(); ++i) {
    const double angle = static_cast<float>(position) * frequencies_[i];
    cos[i] = static_cast<float>(std::cos(angle) * magnitude_);
    sin[i] = static_cast<float>(std::sin(angle) * magnitude_);
  }
}

}  // namespace penstock
