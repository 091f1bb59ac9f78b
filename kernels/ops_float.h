// Matmul of F32, F16 and BF16 weights with the lanes of kernels/lanes.h. Included like it.
// A lane is an output; a register block of kRows rows × kTiles tiles hides the latency of the fma chains.
#pragma once

#include "kernels/kernels.h"
#include "kernels/lanes.h"
#include "kernels/matrix.h"

namespace penstock::kernels {
namespace {

template <Format kFormat>
PENSTOCK_LANES Floats LoadWeights(const std::byte* at) {
  if constexpr (kFormat == Format::kF32) {
    return Load(reinterpret_cast<const float*>(at));
  } else if constexpr (kFormat == Format::kF16) {
    return LoadHalves(at);
  } else {
    using Shorts = uint16_t __attribute__((vector_size(32)));
    Shorts bits;
    std::memcpy(&bits, at, sizeof(bits));
    return reinterpret_cast<Floats>(__builtin_convertvector(bits, Ints) << 16);
  }
}

struct FloatBlock {  // outputs [n, n_end) of rows [row, row + kRows)
  const MatrixView& w;
  const Activations& a;
  float* out;
  int64_t out_stride;
};

template <Format kFormat, int kRows, int kTiles>
void FloatMicro(const FloatBlock& job, int32_t row, int32_t n, int32_t n_end) {
  constexpr int64_t kStep = kTile * (kFormat == Format::kF32 ? 4 : 2);
  const std::byte* tile = job.w.data + n / kTile * job.w.tile_bytes;
  const float* x[kRows];
  for (int r = 0; r < kRows; ++r) x[r] = job.a.x(row + r);
  Floats acc[kRows][kTiles] = {};
  for (int64_t k = 0; k < job.w.k; ++k) {
    Floats weights[kTiles];
    for (int t = 0; t < kTiles; ++t) {
      weights[t] = LoadWeights<kFormat>(tile + t * job.w.tile_bytes + k * kStep);
      __builtin_prefetch(tile + t * job.w.tile_bytes + k * kStep + 2048);
    }
    for (int r = 0; r < kRows; ++r) {
      for (int t = 0; t < kTiles; ++t) acc[r][t] = Fma(weights[t], All(x[r][k]), acc[r][t]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int t = 0; t < kTiles; ++t) {
      const int32_t left = n_end - n - t * kTile;
      float* out = job.out + (row + r) * job.out_stride + n + t * kTile;
      if (left >= kTile) {
        Store(out, acc[r][t]);
      } else {
        StoreFirst(out, acc[r][t], left);
      }
    }
  }
}

template <Format kFormat, int kTiles>
void FloatRows(const FloatBlock& job, int32_t n, int32_t n_end) {
  int32_t row = 0;
  for (; row + kFloatRows <= job.a.rows(); row += kFloatRows) {
    FloatMicro<kFormat, kFloatRows, kTiles>(job, row, n, n_end);
  }
  for (; row + 2 <= job.a.rows(); row += 2) FloatMicro<kFormat, 2, kTiles>(job, row, n, n_end);
  if (row < job.a.rows()) FloatMicro<kFormat, 1, kTiles>(job, row, n, n_end);
}

template <Format kFormat>
void FloatMatmul(const FloatBlock& job, int32_t n_begin, int32_t n_end) {
  // One row can hide latency only with several tiles.
  int32_t n = n_begin;
  if (job.a.rows() == 1) {
    for (; n + 3 * kTile < n_end; n += 4 * kTile) FloatMicro<kFormat, 1, 4>(job, 0, n, n_end);
  }
  for (; n + kTile < n_end; n += 2 * kTile) FloatRows<kFormat, 2>(job, n, n_end);
  if (n < n_end) FloatRows<kFormat, 1>(job, n, n_end);
}

void FloatMatmul(const MatrixView& w, int32_t n_begin, int32_t n_end, const Activations& a, float* out,
                 int64_t out_stride) {
  const FloatBlock job = {w, a, out, out_stride};
  switch (w.format) {
    case Format::kF32:
      return FloatMatmul<Format::kF32>(job, n_begin, n_end);
    case Format::kF16:
      return FloatMatmul<Format::kF16>(job, n_begin, n_end);
    default:
      return FloatMatmul<Format::kBF16>(job, n_begin, n_end);
  }
}

}  // namespace
}  // namespace penstock::kernels
