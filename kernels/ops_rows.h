// Operations on rows with the lanes of kernels/lanes.h. Included like it.
// Loops without a sum are vectorised by the compiler: any order of independent elements gives the same bits.
#pragma once

#include <cmath>
#include <limits>

#include "kernels/half.h"
#include "kernels/kernels.h"
#include "kernels/lanes.h"

namespace penstock::kernels {
namespace {

void RmsNorm(const float* x, const float* weight, int32_t n, float eps, float* out) {
  Floats squares = {};
  int32_t i = 0;
  for (; i + kLanes <= n; i += kLanes) squares = Fma(Load(x + i), Load(x + i), squares);
  if (i < n) {
    const Floats tail = LoadFirst(x + i, n - i);
    squares = Fma(tail, tail, squares);
  }
  const float inverse = 1.0F / __builtin_sqrtf(SumOf(squares) / static_cast<float>(n) + eps);
  for (i = 0; i < n; ++i) out[i] = x[i] * inverse * weight[i];
}

void Add(float* x, const float* y, int32_t n) {
  for (int32_t i = 0; i < n; ++i) x[i] += y[i];
}

void AddScaled(float* x, const float* y, float scale, int32_t n) {
  for (int32_t i = 0; i < n; ++i) x[i] = __builtin_fmaf(scale, y[i], x[i]);
}

PENSTOCK_LANES Floats Silu(Floats x) {
  return x / (1.0F + Exp(-x));
}

void SiluMul(const float* gate, const float* up, int32_t n, float* out) {
  int32_t i = 0;
  for (; i + kLanes <= n; i += kLanes) Store(out + i, Silu(Load(gate + i)) * Load(up + i));
  if (i < n) StoreFirst(out + i, Silu(LoadFirst(gate + i, n - i)) * LoadFirst(up + i, n - i), n - i);
}

void Rope(float* head, const float* cos, const float* sin, int32_t rotary_dim, bool neox) {
  const int32_t half = rotary_dim / 2;
  const int32_t step = neox ? 1 : 2, apart = neox ? half : 1;
  for (int32_t i = 0; i < half; ++i) {
    float& a = head[i * step];
    float& b = head[i * step + apart];
    const float a0 = a, b0 = b;
    a = __builtin_fmaf(a0, cos[i], -(b0 * sin[i]));
    b = __builtin_fmaf(b0, cos[i], a0 * sin[i]);
  }
}

void Softmax(float* p, int32_t n) {
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  const int32_t whole = n / kLanes * kLanes, rest = n - whole;
  Floats max = All(kLowest);
  for (int32_t i = 0; i < whole; i += kLanes) max = Larger(Load(p + i), max);
  if (rest > 0) max = Larger(FirstOr(LoadFirst(p + whole, rest), rest, kLowest), max);
  const float top = MaxOf(max);
  Floats sums = {};
  for (int32_t i = 0; i < whole; i += kLanes) {
    const Floats e = Exp(Load(p + i) - top);
    Store(p + i, e);
    sums += e;
  }
  if (rest > 0) {
    const Floats e = FirstOr(Exp(LoadFirst(p + whole, rest) - top), rest, 0);
    StoreFirst(p + whole, e, rest);
    sums += e;
  }
  const float inverse = 1.0F / SumOf(sums);
  for (int32_t i = 0; i < n; ++i) p[i] *= inverse;
}

void StoreKv(const float* k, const float* v, int32_t head_dim, int32_t slot, KvType type, std::byte* k_page,
             std::byte* v_page) {
  if (type == KvType::kF32) {
    auto* keys = reinterpret_cast<float*>(k_page) + slot;
    for (int32_t d = 0; d < head_dim; ++d) keys[int64_t{d} * kPageTokens] = k[d];
    std::memcpy(v_page + int64_t{slot} * head_dim * 4, v, static_cast<size_t>(head_dim) * 4);
    return;
  }
  // Conversion with _Float16 rounds to nearest even, as FloatToHalf does.
  auto* keys = reinterpret_cast<_Float16*>(k_page) + slot;
  auto* values = reinterpret_cast<_Float16*>(v_page) + int64_t{slot} * head_dim;
  for (int32_t d = 0; d < head_dim; ++d) keys[int64_t{d} * kPageTokens] = static_cast<_Float16>(k[d]);
  for (int32_t d = 0; d < head_dim; ++d) values[d] = static_cast<_Float16>(v[d]);
}

}  // namespace
}  // namespace penstock::kernels
