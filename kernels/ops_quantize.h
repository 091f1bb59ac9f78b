// Activations to int8 with the lanes of kernels/lanes.h. Included like it.
#pragma once

#include "kernels/kernels.h"
#include "kernels/lanes.h"
#include "kernels/matrix.h"

namespace penstock::kernels {
namespace {

// The largest |x| of 32 floats; a NaN counts as larger than everything, so bits are compared.
PENSTOCK_LANES float AbsMax(Floats x, Floats y) {
  const Ints a = reinterpret_cast<Ints>(x) & 0x7fffffff, b = reinterpret_cast<Ints>(y) & 0x7fffffff;
  const int32_t bits = __builtin_reduce_max(a > b ? a : b);
  float amax = 0;
  std::memcpy(&amax, &bits, sizeof(amax));
  return amax;
}

PENSTOCK_LANES int32_t Quantize16(Floats x, float inverse, int8_t* q) {
  using Bytes = int8_t __attribute__((vector_size(16)));
  const Ints rounded = __builtin_convertvector(__builtin_elementwise_roundeven(x * inverse), Ints);
  const Bytes bytes = __builtin_convertvector(rounded, Bytes);
  std::memcpy(q, &bytes, sizeof(bytes));
  return __builtin_reduce_add(rounded);
}

PENSTOCK_LANES void QuantizeGroup(Floats x, Floats y, int g, ActivationBlock& block) {
  const float amax = AbsMax(x, y);
  const bool finite = amax >= kSmallestAmax && amax <= 3.40282347e38F;
  int32_t low = 0, high = 0;
  int8_t* q = block.q + g * kGroup;
  if (finite) {
    const float inverse = 127.0F / amax;
    low = Quantize16(x, inverse, q);
    high = Quantize16(y, inverse, q + 16);
  } else {
    std::memset(q, 0, kGroup);
  }
  const float scale = finite ? amax / 127.0F : amax < kSmallestAmax ? 0.0F : amax;
  block.minus_sum16[2 * g] = -low;
  block.minus_sum16[2 * g + 1] = -high;
  block.minus_sum[g] = -(low + high);
  block.scale[g] = scale;
  block.min_sum[g] = scale * static_cast<float>(low + high);
}

// The 16 floats at x + k, with zeros beyond the row's end.
PENSTOCK_LANES Floats LoadWithin(const float* x, int32_t k, int32_t end) {
  if (k + kLanes <= end) return Load(x + k);
  return k < end ? LoadFirst(x + k, end - k) : Floats{};
}

void QuantizeRows(int32_t begin, int32_t end, Activations& a) {
  for (int32_t row = begin; row < end; ++row) {
    const float* x = a.x(row);
    for (int32_t k = 0; k < a.blocks() * kSuper; k += kGroup) {
      QuantizeGroup(LoadWithin(x, k, a.k()), LoadWithin(x, k + kLanes, a.k()), k % kSuper / kGroup,
                    *a.block(k / kSuper, row));
    }
  }
}

}  // namespace
}  // namespace penstock::kernels
