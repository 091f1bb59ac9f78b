// Matmul of integer layouts with the lanes of kernels/lanes.h. Included like it, after the version's own
// Lookup16 and DotGroup.
//
// A group's codes are expanded to bytes in registers and multiplied at once with a block of rows, whose sums
// stay in registers along k. For one row this streams weights from memory; for many it expands a tile again
// for each block of rows, which costs less than storing the expanded codes.
#pragma once

#include "kernels/kernels.h"
#include "kernels/lanes.h"
#include "kernels/matrix.h"

namespace penstock::kernels {
namespace {

using Words = uint16_t __attribute__((vector_size(64)));

// --- one group of a tile: 8 quads of codes as bytes ---

PENSTOCK_LANES Codes LoadCodes(const std::byte* at) {
  Codes v;
  std::memcpy(&v, at, sizeof(v));
  return v;
}

// Bytes shifted right by kShift (left if negative), then masked: bits that crossed a byte are removed.
template <int kShift, uint8_t kMask>
PENSTOCK_LANES Codes Field(Codes v) {
  const auto words = reinterpret_cast<Words>(v);
  const Words shifted =
      kShift >= 0 ? words >> (kShift >= 0 ? kShift : 0) : words << (kShift < 0 ? -kShift : 0);
  return reinterpret_cast<Codes>(shifted) & (Codes{} + kMask);
}

template <int kQuad>
PENSTOCK_LANES Codes Plane4(const std::byte* plane) {
  return Field<kQuad / 4 * 4, 0x0f>(LoadCodes(plane + 64 * (kQuad % 4)));
}

// Two bits of a quad, moved up to bit kTo.
template <int kQuad, int kTo>
PENSTOCK_LANES Codes Plane2(const std::byte* plane) {
  return Field<2 * (kQuad % 4) - kTo, (3 << kTo)>(LoadCodes(plane + 64 * (kQuad / 4)));
}

template <int kQuad, int kTo>
PENSTOCK_LANES Codes Plane1(const std::byte* plane) {
  return Field<kQuad - kTo, (1 << kTo)>(LoadCodes(plane));
}

template <Layout kLayout, int kQuad>
PENSTOCK_LANES Codes Quad(const std::byte* group) {
  if constexpr (kLayout.bits == 8) {
    return LoadCodes(group + 64 * kQuad);
  } else if constexpr (kLayout.bits == 6) {
    return Plane4<kQuad>(group) | Plane2<kQuad, 4>(group + 256);
  } else if constexpr (kLayout.bits == 5) {
    return Plane4<kQuad>(group) | Plane1<kQuad, 4>(group + 256);
  } else if constexpr (kLayout.bits == 4) {
    const Codes codes = Plane4<kQuad>(group);
    return kLayout.table ? Lookup16(kTableValues, codes) : codes;
  } else if constexpr (kLayout.bits == 3) {
    return Plane2<kQuad, 0>(group) | Plane1<kQuad, 2>(group + 128);
  } else {
    return Plane2<kQuad, 0>(group);
  }
}

template <Layout kLayout>
PENSTOCK_LANES void Expand(const std::byte* group, Codes* codes) {
  codes[0] = Quad<kLayout, 0>(group);
  codes[1] = Quad<kLayout, 1>(group);
  codes[2] = Quad<kLayout, 2>(group);
  codes[3] = Quad<kLayout, 3>(group);
  codes[4] = Quad<kLayout, 4>(group);
  codes[5] = Quad<kLayout, 5>(group);
  codes[6] = Quad<kLayout, 6>(group);
  codes[7] = Quad<kLayout, 7>(group);
  if constexpr (kLayout.zero == 128 && kWideIsSigned) {
    for (int q = 0; q < 8; ++q) codes[q] ^= Codes{} + uint8_t{0x80};
  }
}

// --- scales ---

// Sixteen f16 scales, or int8 scales times their f16 factor; `i` counts scale groups.
template <Layout kLayout>
PENSTOCK_LANES Floats LoadScale(const std::byte* scales, int64_t i, Floats super) {
  if constexpr (kLayout.super) {
    int8_t __attribute__((vector_size(16))) bytes;
    std::memcpy(&bytes, scales + i * kTile, sizeof(bytes));
    return __builtin_convertvector(__builtin_convertvector(bytes, Ints), Floats) * super;
  } else {
    return LoadHalves(scales + i * kTile * 2);
  }
}

// The scales of one block.
template <Layout kLayout>
struct BlockScales {
  const std::byte *scales, *mins;
  Floats super = {}, super_min = {};

  PENSTOCK_LANES BlockScales(const std::byte* block, int32_t groups) {
    const BlockShape shape = BlockShapeOf(kLayout, groups);
    scales = block + shape.scales;
    mins = block + shape.mins;
    if constexpr (kLayout.super) super = LoadHalves(block + shape.supers);
    if constexpr (kLayout.super && kLayout.has_min) super_min = LoadHalves(block + shape.super_mins);
  }
  PENSTOCK_LANES Floats Scale(int64_t i) const { return LoadScale<kLayout>(scales, i, super); }
  PENSTOCK_LANES Floats MinusMin(int64_t i) const { return -LoadScale<kLayout>(mins, i, super_min); }
};

// --- the arithmetic of one scale group: integer dots, then the float chain ---

// What the inner loops need to know about a layout; several layouts share one.
struct Kind {
  int group = 32;
  bool has_min = false;
  int width = 8;  // bits of a code as a number
  int zero = 0;
};

constexpr Kind KindOf(const Layout& layout) {
  const bool wide = layout.zero == 128;
  return {.group = layout.group,
          .has_min = layout.has_min,
          .width = wide ? 8 : layout.bits,
          .zero = wide && kWideIsSigned ? 0 : layout.zero};
}

// Adds scale group `part` (0, or 0 and 1 where a group is half of 32) of group g to the sums of kRows rows.
template <Kind kKind, int kRows>
PENSTOCK_LANES void AddGroup(const Codes* codes, Floats scale, Floats minus_min, const ActivationBlock* rows,
                             int g, int part, Floats (&acc)[kRows]) {
  constexpr int kQuads = kKind.group / 4;
  Ints dot[kRows];
  for (int r = 0; r < kRows; ++r) {
    const int32_t minus_sum = kKind.group == 32 ? rows[r].minus_sum[g] : rows[r].minus_sum16[2 * g + part];
    dot[r] = kKind.zero == 0 ? Ints{} : (Ints{} + minus_sum) * kKind.zero;
  }
  DotGroup<kKind.width, kQuads, kRows>(codes + part * kQuads, rows->q + g * kGroup + part * 16, dot);
  for (int r = 0; r < kRows; ++r) {
    const float a_scale = rows[r].scale[g];
    acc[r] = Fma(__builtin_convertvector(dot[r], Floats), scale * a_scale, acc[r]);
    if constexpr (kKind.has_min) {
      const float min_sum = kKind.group == 32
                                ? rows[r].min_sum[g]
                                : a_scale * -static_cast<float>(rows[r].minus_sum16[2 * g + part]);
      acc[r] = Fma(minus_min, All(min_sum), acc[r]);
    }
  }
}

struct IntegerJob {
  const MatrixView& w;
  const Activations& a;
  float* out;
  int64_t out_stride;
  int32_t n_end;
};

// Weights are read from memory in one stream and prefetched some blocks ahead, also beyond the end of the
// tile, because the next tile follows. With few rows the matmul waits for memory and prefetches into the
// second-level cache, which allows more misses in flight than the first; with many rows it computes long
// enough for the first. Measured on Zen 4: 4 rows of Q4_0 at 20 GB/s against 16, 8 rows at 350 GOP/s against
// 250.
template <Layout kLayout, int kRows>
PENSTOCK_LANES void Prefetch(const std::byte* at, int64_t lines) {
  constexpr int64_t kAhead = BlockShapeOf(kLayout, kSuper / kGroup).bytes * (kLayout.bits < 6 ? 2 : 1);
  for (int64_t line = 0; line < lines; ++line) {
    __builtin_prefetch(at + kAhead + 64 * line, 0, kRows <= 4 ? 2 : 3);
  }
}

template <Layout kLayout, int kRows>
PENSTOCK_LANES void AddBlock(const std::byte* block, int32_t groups, const ActivationBlock* rows,
                             Floats (&acc)[kRows]) {
  constexpr Kind kKind = KindOf(kLayout);
  constexpr int kParts = kGroup / kKind.group;
  const BlockScales<kLayout> scales(block, groups);
  constexpr BlockShape kShape = BlockShapeOf(kLayout, kSuper / kGroup);
  Prefetch<kLayout, kRows>(block + kShape.scales, (kShape.bytes - kShape.scales) / 64);
  for (int32_t g = 0; g < groups; ++g) {
    const std::byte* group = block + g * 64 * kLayout.bits;
    Prefetch<kLayout, kRows>(group, kLayout.bits);
    Codes codes[8];
    Expand<kLayout>(group, codes);
    for (int part = 0; part < kParts; ++part) {
      const Floats scale = scales.Scale(g * kParts + part);
      const Floats minus_min = kKind.has_min ? scales.MinusMin(g * kParts + part) : Floats{};
      AddGroup<kKind, kRows>(codes, scale, minus_min, rows, g, part, acc);
    }
  }
}

// One tile of outputs for kRows rows. The sums stay in registers from the first k to the last.
template <Layout kLayout, int kRows>
void MultiplyTile(const IntegerJob& job, int32_t row, int32_t n) {
  const std::byte* block = job.w.data + n / kTile * job.w.tile_bytes;
  Floats acc[kRows] = {};
  int32_t b = 0;
  for (; b < job.w.k / kSuper; ++b, block += job.w.block_bytes) {
    AddBlock<kLayout, kRows>(block, kSuper / kGroup, job.a.block(b, row), acc);
  }
  if (const int32_t rest = job.w.k % kSuper / kGroup; rest > 0 && !kLayout.super) {
    AddBlock<kLayout, kRows>(block, rest, job.a.block(b, row), acc);
  }
  for (int r = 0; r < kRows; ++r) {
    float* out = job.out + (row + r) * job.out_stride + n;
    if (job.n_end - n >= kTile) {
      Store(out, acc[r]);
    } else {
      StoreFirst(out, acc[r], job.n_end - n);
    }
  }
}

// --- one layout, then all ---

// Rows [row, end) in blocks of nearly equal size: 9 rows are 5 + 4, not 8 + 1.
template <Layout kLayout>
void MultiplyRows(const IntegerJob& job, int32_t row, int32_t end, int32_t n) {
  for (int32_t blocks = (end - row + kIntegerRows - 1) / kIntegerRows; blocks > 0; --blocks) {
    const int32_t count = (end - row + blocks - 1) / blocks;
    switch (count) {
#define PENSTOCK_ROWS(R)                                                    \
  case R:                                                                   \
    if constexpr (R <= kIntegerRows) MultiplyTile<kLayout, R>(job, row, n); \
    break;
      PENSTOCK_ROWS(1)
      PENSTOCK_ROWS(2)
      PENSTOCK_ROWS(3)
      PENSTOCK_ROWS(4)
      PENSTOCK_ROWS(5)
      PENSTOCK_ROWS(6)
      PENSTOCK_ROWS(7)
      PENSTOCK_ROWS(8)
#undef PENSTOCK_ROWS
      default:
        break;
    }
    row += count;
  }
}

// Processes as many rows at a time as fit with their activations into the second-level cache, for all tiles.
PENSTOCK_LANES int32_t RowsInCache(const Activations& a) {
  const auto fit =
      static_cast<int32_t>(kCachedBytes / (a.blocks() * static_cast<int64_t>(sizeof(ActivationBlock))));
  return fit < kIntegerRows ? kIntegerRows : fit / kIntegerRows * kIntegerRows;
}

template <Layout kLayout>
void IntegerMatmul(const IntegerJob& job, int32_t n_begin) {
  const int32_t rows = job.a.rows(), step = RowsInCache(job.a);
  for (int32_t row = 0; row < rows; row += step) {
    const int32_t end = rows - row < step ? rows : row + step;
    for (int32_t n = n_begin; n < job.n_end; n += kTile) MultiplyRows<kLayout>(job, row, end, n);
  }
}

void IntegerMatmul(const MatrixView& w, int32_t n_begin, int32_t n_end, const Activations& a, float* out,
                   int64_t out_stride) {
  const IntegerJob job = {w, a, out, out_stride, n_end};
  switch (w.format) {
#define PENSTOCK_FORMAT(F) \
  case Format::F:          \
    return IntegerMatmul<LayoutOf(Format::F)>(job, n_begin);
    PENSTOCK_FORMAT(kQ4_0)
    PENSTOCK_FORMAT(kQ4_1)
    PENSTOCK_FORMAT(kQ5_0)
    PENSTOCK_FORMAT(kQ5_1)
    PENSTOCK_FORMAT(kQ8_0)
    PENSTOCK_FORMAT(kQ2_K)
    PENSTOCK_FORMAT(kQ3_K)
    PENSTOCK_FORMAT(kQ4_K)
    PENSTOCK_FORMAT(kQ5_K)
    PENSTOCK_FORMAT(kQ6_K)
    PENSTOCK_FORMAT(kIQ4_NL)
#undef PENSTOCK_FORMAT
    default:
      return;
  }
}

}  // namespace
}  // namespace penstock::kernels
