// How a packed matrix is stored in memory. Kernels are written per layout, not per file format.
//
// Outputs (rows of w) are divided into TILES of 16. A tile is a run of BLOCKS of 256 k (the last may have
// fewer), and the tiles are consecutive, so that a matmul reads one stream from beginning to end. A block
// holds everything that its weights need:
//
//   quants  its groups of 32 k × 16 outputs, 64 * bits bytes each
//   scales  [k/group][16]  f16, or int8 where `super`
//   mins    [k/group][16]  the same, where has_min
//   d       [16]           f16, where `super`: scale = d * int8
//   dmin    [16]           f16, where `super` and has_min: min = dmin * int8
//   padding to 64 bytes
//
// In a group, QUAD q (0 … 7) is k = 4q … 4q + 3. One 64-byte vector holds a quad for 16 outputs: byte
// 4 * output + k % 4. That is the operand of VPDPBUSD, which multiplies it with 4 activations. Codes
// narrower than a byte are split into planes, so that one shift and one mask restore such a vector:
//
//   8 bits: vector q is quad q
//   4 bits: vector v (0 … 3): quad v in the low nibbles, quad v + 4 in the high ones
//   2 bits: vector v (0 … 1): quads 4v … 4v + 3, lowest bits first
//   1 bit:  one vector: quad q in bit q
//   5 = 4 + 1, 6 = 4 + 2, 3 = 2 + 1: the plane of the low bits first, then that of the high ones
//
// F32, F16 and BF16 weights stay as they are, transposed in the tile: [k][16].
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/format.h"

namespace penstock::kernels {

constexpr int32_t kTile = 16;   // outputs of one tile
constexpr int32_t kGroup = 32;  // activations that share a scale
constexpr int32_t kSuper =
    256;  // k that share a super-block scale; activations are stored in blocks of this size

struct Layout {
  uint8_t bits = 0;    // of one code; 0: floats
  uint8_t group = 32;  // k that share a scale: 16 or 32
  uint8_t zero = 0;    // weight = scale * (code - zero) - min; 0 or a power of two; 0 where has_min
  bool has_min = false;
  bool super = false;       // scale = f16 × int8; false: f16
  bool table = false;       // the code selects one of kTableValues instead of being a number
  uint8_t float_bytes = 0;  // 4 or 2 for floats
};

constexpr Layout LayoutOf(Format format) {
  switch (format) {
    case Format::kQ4_0:
      return {.bits = 4, .zero = 8};
    case Format::kIQ4_NL:
      return {.bits = 4, .zero = 128, .table = true};
    case Format::kQ4_1:
      return {.bits = 4, .has_min = true};
    case Format::kQ5_0:
      return {.bits = 5, .zero = 16};
    case Format::kQ5_1:
      return {.bits = 5, .has_min = true};
    case Format::kQ8_0:
      return {.bits = 8, .zero = 128};
    case Format::kQ2_K:
      return {.bits = 2, .group = 16, .has_min = true, .super = true};
    case Format::kQ3_K:
      return {.bits = 3, .group = 16, .zero = 4, .super = true};
    case Format::kQ4_K:
      return {.bits = 4, .has_min = true, .super = true};
    case Format::kQ5_K:
      return {.bits = 5, .has_min = true, .super = true};
    case Format::kQ6_K:
      return {.bits = 6, .group = 16, .zero = 32, .super = true};
    case Format::kF32:
      return {.float_bytes = 4};
    case Format::kF16:
    case Format::kBF16:
      return {.float_bytes = 2};
  }
  return {};
}

// IQ4_NL's sixteen levels plus 128: unsigned bytes like every other code.
constexpr uint8_t kTableValues[16] = {1,   24,  45,  63,  79,  93,  106, 118,
                                      129, 141, 153, 166, 181, 197, 217, 241};

constexpr int32_t WeightOf(const Layout& layout, uint8_t code) {
  return (layout.table ? kTableValues[code] : code) - layout.zero;
}

// Byte offsets in a block; its quants begin at 0.
struct BlockShape {
  int64_t scales = 0, mins = 0, supers = 0, super_mins = 0;
  int64_t bytes = 0;  // to the next block; a multiple of 64
};

// Of a block of `groups` groups of 32 k: 8, or fewer at the end of a row.
constexpr BlockShape BlockShapeOf(const Layout& layout, int64_t groups) {
  const int64_t scale_bytes = groups * (kGroup / layout.group) * kTile * (layout.super ? 1 : 2);
  const int64_t super_bytes = layout.super ? kTile * 2 : 0;
  BlockShape shape;
  shape.scales = groups * 64 * layout.bits;
  shape.mins = shape.scales + scale_bytes;
  shape.supers = shape.mins + (layout.has_min ? scale_bytes : 0);
  shape.super_mins = shape.supers + super_bytes;
  shape.bytes = (shape.super_mins + (layout.has_min ? super_bytes : 0) + 63) / 64 * 64;
  return shape;
}

// From one tile to the next.
constexpr int64_t TileBytes(const Layout& layout, int64_t k) {
  if (layout.bits == 0) return (k * kTile * layout.float_bytes + 63) / 64 * 64;
  const int64_t rest = k % kSuper / kGroup;
  return k / kSuper * BlockShapeOf(layout, kSuper / kGroup).bytes +
         (rest > 0 ? BlockShapeOf(layout, rest).bytes : 0);
}

// What kernels see of a Matrix: tile t begins at data + t * tile_bytes.
struct MatrixView {
  const std::byte* data = nullptr;
  int64_t tile_bytes = 0;
  int64_t block_bytes = 0;  // of a whole block; integer layouts only
  Layout layout;
  Format format = Format::kF32;
  int32_t n = 0, k = 0;
};

}  // namespace penstock::kernels
