// Matmul of integer layouts, over the lanes of kernels/lanes.h. Included like it, after the version's own
// Lookup16 and DotGroup.
//
// Two ways through the same arithmetic. Few rows: a group's codes are expanded to bytes in registers and
// used at once, so that weights stream from memory. Many rows: 256 k of two tiles are expanded once into a
// panel in the first-level cache, and blocks of rows pass over it; between panels the sums rest in `out`.
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

// Bytes shifted right by kShift (left if negative), then masked: bits that crossed a byte are masked away.
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

// Sixteen f16 scales, or int8 ones times what multiplies them; `i` counts scale groups.
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

// The scales of one tile for one block of 256 k.
template <Layout kLayout>
struct TileScales {
  const std::byte *scales, *mins;
  Floats super = {}, super_min = {};

  PENSTOCK_LANES TileScales(const std::byte* tile, const TileShape& shape, int32_t block)
      : scales(tile + shape.scales), mins(tile + shape.mins) {
    if constexpr (kLayout.super) super = LoadHalves(tile + shape.supers + int64_t{block} * kTile * 2);
    if constexpr (kLayout.super && kLayout.has_min) {
      super_min = LoadHalves(tile + shape.super_mins + int64_t{block} * kTile * 2);
    }
  }
  PENSTOCK_LANES Floats Scale(int64_t i) const { return LoadScale<kLayout>(scales, i, super); }
  PENSTOCK_LANES Floats MinusMin(int64_t i) const { return -LoadScale<kLayout>(mins, i, super_min); }
};

// --- the arithmetic of one scale group: integer dots, then the float chain ---

// What the inner loops need to know of a layout; fewer than there are layouts.
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

// Adds scale group `part` (0, or 0 and 1 where a group is half of 32) of group g of kRows × kTiles.
// codes, scale, minus_min: of tile t at [t * stride].
template <Kind kKind, int kRows, int kTiles>
PENSTOCK_LANES void AddGroup(const Codes* codes, int64_t codes_stride, const Floats* scale,
                             const Floats* minus_min, const ActivationBlock* rows, int g, int part,
                             Floats (&acc)[kRows][kTiles]) {
  constexpr int kQuads = kKind.group / 4;
  Ints dot[kRows][kTiles];
  for (int r = 0; r < kRows; ++r) {
    const int32_t minus_sum = kKind.group == 32 ? rows[r].minus_sum[g] : rows[r].minus_sum16[2 * g + part];
    const Ints start = kKind.zero == 0 ? Ints{} : (Ints{} + minus_sum) * kKind.zero;
    for (int t = 0; t < kTiles; ++t) dot[r][t] = start;
  }
  DotGroup<kKind.width, kQuads, kRows, kTiles>(codes + part * kQuads, codes_stride,
                                               rows->q + g * kGroup + part * 16, dot);
  for (int r = 0; r < kRows; ++r) {
    const float a_scale = rows[r].scale[g];
    for (int t = 0; t < kTiles; ++t) {
      acc[r][t] = Fma(__builtin_convertvector(dot[r][t], Floats), scale[t] * a_scale, acc[r][t]);
      if constexpr (kKind.has_min) {
        const float min_sum = kKind.group == 32
                                  ? rows[r].min_sum[g]
                                  : a_scale * -static_cast<float>(rows[r].minus_sum16[2 * g + part]);
        acc[r][t] = Fma(minus_min[t], All(min_sum), acc[r][t]);
      }
    }
  }
}

struct IntegerJob {
  const MatrixView& w;
  const Activations& a;
  float* out;
  int64_t out_stride;
  int32_t n_end;

  PENSTOCK_LANES const std::byte* Tile(int32_t n) const { return w.data + n / kTile * w.shape.bytes; }
  PENSTOCK_LANES int32_t GroupsIn(int32_t block) const {
    const int32_t left = w.k / kGroup - block * (kSuper / kGroup);
    return left < kSuper / kGroup ? left : kSuper / kGroup;
  }
  PENSTOCK_LANES Floats LoadOut(int32_t row, int32_t n) const {
    const float* at = out + row * out_stride + n;
    return n_end - n >= kTile ? Load(at) : LoadFirst(at, n_end - n);
  }
  PENSTOCK_LANES void StoreOut(int32_t row, int32_t n, Floats v) const {
    float* at = out + row * out_stride + n;
    if (n_end - n >= kTile) {
      Store(at, v);
    } else {
      StoreFirst(at, v, n_end - n);
    }
  }
};

// --- few rows ---

template <Layout kLayout>
PENSTOCK_LANES void PrefetchGroup(const std::byte* group) {
  for (int line = 0; line < kLayout.bits; ++line) __builtin_prefetch(group + kPrefetchBytes + 64 * line);
}

template <Layout kLayout, int kRows, int kTiles>
void StreamTiles(const IntegerJob& job, int32_t row, int32_t n) {
  constexpr Kind kKind = KindOf(kLayout);
  constexpr int kParts = kGroup / kKind.group;
  const std::byte* tile = job.Tile(n);
  const int64_t slab = job.w.shape.bytes;
  Floats acc[kRows][kTiles] = {};
  for (int32_t b = 0; b < job.a.blocks(); ++b) {
    const ActivationBlock* rows = job.a.block(b, row);
    for (int32_t g = 0, groups = job.GroupsIn(b); g < groups; ++g) {
      const int64_t group = int64_t{b} * (kSuper / kGroup) + g;
      Codes codes[kTiles][8];
      for (int t = 0; t < kTiles; ++t) {
        const std::byte* at = tile + t * slab + group * 64 * kLayout.bits;
        PrefetchGroup<kLayout>(at);
        Expand<kLayout>(at, codes[t]);
      }
      for (int part = 0; part < kParts; ++part) {
        Floats scale[kTiles], minus_min[kTiles];
        for (int t = 0; t < kTiles; ++t) {
          const TileScales<kLayout> scales(tile + t * slab, job.w.shape, b);
          scale[t] = scales.Scale(group * kParts + part);
          minus_min[t] = kKind.has_min ? scales.MinusMin(group * kParts + part) : Floats{};
        }
        AddGroup<kKind, kRows, kTiles>(codes[0], 8, scale, minus_min, rows, g, part, acc);
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int t = 0; t < kTiles; ++t) job.StoreOut(row + r, n + t * kTile, acc[r][t]);
  }
}

// --- many rows ---

template <int kTiles>
struct Panel {  // one block of 256 k
  Codes codes[kSuper / kGroup][kTiles][8];
  Floats scale[kSuper / 16][kTiles], minus_min[kSuper / 16][kTiles];
};

template <Layout kLayout, int kTiles>
void FillPanel(const IntegerJob& job, int32_t n, int32_t b, Panel<kTiles>& panel) {
  constexpr int kParts = kGroup / kLayout.group;
  for (int t = 0; t < kTiles; ++t) {
    const std::byte* tile = job.Tile(n) + t * job.w.shape.bytes;
    const TileScales<kLayout> scales(tile, job.w.shape, b);
    for (int32_t g = 0, groups = job.GroupsIn(b); g < groups; ++g) {
      const int64_t group = int64_t{b} * (kSuper / kGroup) + g;
      const std::byte* at = tile + group * 64 * kLayout.bits;
      PrefetchGroup<kLayout>(at);
      Expand<kLayout>(at, panel.codes[g][t]);
      for (int part = 0; part < kParts; ++part) {
        panel.scale[g * kParts + part][t] = scales.Scale(group * kParts + part);
        if constexpr (kLayout.has_min) {
          panel.minus_min[g * kParts + part][t] = scales.MinusMin(group * kParts + part);
        }
      }
    }
  }
}

template <Kind kKind, int kRows, int kTiles>
void MultiplyPanel(const IntegerJob& job, const Panel<kTiles>& panel, int32_t b, int32_t row, int32_t n) {
  constexpr int kParts = kGroup / kKind.group;
  Floats acc[kRows][kTiles];
  for (int r = 0; r < kRows; ++r) {
    for (int t = 0; t < kTiles; ++t) {
      acc[r][t] = b == 0 ? Floats{} : job.LoadOut(row + r, n + t * kTile);
    }
  }
  const ActivationBlock* rows = job.a.block(b, row);
  for (int32_t g = 0, groups = job.GroupsIn(b); g < groups; ++g) {
    for (int part = 0; part < kParts; ++part) {
      const int i = g * kParts + part;
      AddGroup<kKind, kRows, kTiles>(panel.codes[g][0], 8, panel.scale[i], panel.minus_min[i], rows, g, part,
                                     acc);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int t = 0; t < kTiles; ++t) job.StoreOut(row + r, n + t * kTile, acc[r][t]);
  }
}

// Blocks of rows as even as can be: 8 rows are 4 + 4, not 6 + 2.
template <Kind kKind, int kTiles>
void MultiplyRows(const IntegerJob& job, const Panel<kTiles>& panel, int32_t b, int32_t n) {
  const int32_t rows = job.a.rows();
  for (int32_t row = 0, blocks = (rows + kPanelRows - 1) / kPanelRows; blocks > 0; --blocks) {
    const int32_t count = (rows - row + blocks - 1) / blocks;
    switch (count) {
#define PENSTOCK_ROWS(R)                                                           \
  case R:                                                                          \
    if constexpr (R <= kPanelRows) MultiplyPanel<kKind, R>(job, panel, b, row, n); \
    break;
      PENSTOCK_ROWS(1)
      PENSTOCK_ROWS(2)
      PENSTOCK_ROWS(3)
      PENSTOCK_ROWS(4)
      PENSTOCK_ROWS(5)
      PENSTOCK_ROWS(6)
#undef PENSTOCK_ROWS
      default:
        break;
    }
    row += count;
  }
}

template <Layout kLayout, int kTiles>
void PanelTiles(const IntegerJob& job, int32_t n) {
  Panel<kTiles> panel;
  for (int32_t b = 0; b < job.a.blocks(); ++b) {
    FillPanel<kLayout>(job, n, b, panel);
    MultiplyRows<KindOf(kLayout)>(job, panel, b, n);
  }
}

// --- one layout, then all ---

template <Layout kLayout>
void IntegerMatmul(const IntegerJob& job, int32_t n_begin) {
  int32_t n = n_begin;
  if (job.a.rows() == 1) {
    for (; n < job.n_end; n += kTile) StreamTiles<kLayout, 1, 1>(job, 0, n);
    return;
  }
  for (; n + (kPanelTiles - 1) * kTile < job.n_end; n += kPanelTiles * kTile) {
    PanelTiles<kLayout, kPanelTiles>(job, n);
  }
  for (; n < job.n_end; n += kTile) PanelTiles<kLayout, 1>(job, n);
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
