// Reads weights of a packed matrix one group at a time: the code form of kernels/layout.h, for the reference,
// for rows of an embedding and for tests.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/half.h"
#include "kernels/layout.h"

namespace penstock::kernels {

// One output's weights that share a scale: weight i is scale * integer[i] - min.
struct WeightGroup {
  int32_t integer[kGroup];  // the layout's `group` first ones
  float scale = 0, min = 0;
};

inline float HalfAt(const std::byte* halves, int64_t i) {
  uint16_t bits = 0;
  std::memcpy(&bits, halves + 2 * i, sizeof(bits));
  return HalfToFloat(bits);
}

// Quad `quad` of output `column` of a group of 32 k: four codes in a word, the lowest k in the lowest byte.
inline uint32_t QuadAt(const std::byte* group, int bits, int column, int quad) {
  // Vectors `first` … hold `width` bits of each code.
  const auto plane = [&](int first, int width) {
    const int vector = width == 4 ? quad % 4 : width == 2 ? quad / 4 : width == 1 ? 0 : quad;
    const int shift = width == 4 ? quad / 4 * 4 : width == 2 ? quad % 4 * 2 : width == 1 ? quad : 0;
    uint32_t word = 0;
    std::memcpy(&word, group + 64 * (first + vector) + 4 * column, sizeof(word));
    return (word >> shift) & (((1U << width) - 1) * 0x01010101U);
  };
  switch (bits) {
    case 6:
      return plane(0, 4) | (plane(4, 2) << 4);
    case 5:
      return plane(0, 4) | (plane(4, 1) << 4);
    case 3:
      return plane(0, 2) | (plane(2, 1) << 2);
    default:
      return plane(0, bits);
  }
}

// The group of output n that begins at k. REQUIRES: an integer layout; k % layout.group == 0.
inline void ReadGroup(const MatrixView& w, int32_t n, int32_t k, WeightGroup& out) {
  const int32_t first = k / kSuper * kSuper, in_block = k - first, column = n % kTile;
  const int32_t groups = (w.k - first < kSuper ? w.k - first : kSuper) / kGroup;
  const BlockShape shape = BlockShapeOf(w.layout, groups);
  const std::byte* block = w.data + n / kTile * w.tile_bytes + k / kSuper * w.block_bytes;

  const std::byte* quants = block + int64_t{in_block} / kGroup * 64 * w.layout.bits;
  for (int i = 0; i < w.layout.group; i += 4) {
    const uint32_t quad = QuadAt(quants, w.layout.bits, column, (in_block % kGroup + i) / 4);
    for (int j = 0; j < 4; ++j) {
      out.integer[i + j] = WeightOf(w.layout, static_cast<uint8_t>(quad >> (8 * j)));
    }
  }
  const auto entry = [&](int64_t values, int64_t supers) {
    const int64_t i = in_block / w.layout.group * kTile + column;
    if (!w.layout.super) return HalfAt(block + values, i);
    return HalfAt(block + supers, column) * static_cast<float>(static_cast<int8_t>(block[values + i]));
  };
  out.scale = entry(shape.scales, shape.supers);
  out.min = w.layout.has_min ? entry(shape.mins, shape.super_mins) : 0;
}

// Weight (n, k) of a float layout.
inline float FloatAt(const MatrixView& w, int32_t n, int32_t k) {
  const std::byte* at =
      w.data + n / kTile * w.tile_bytes + (int64_t{k} * kTile + n % kTile) * w.layout.float_bytes;
  if (w.format == Format::kF32) {
    float value = 0;
    std::memcpy(&value, at, sizeof(value));
    return value;
  }
  uint16_t bits = 0;
  std::memcpy(&bits, at, sizeof(bits));
  return w.format == Format::kF16 ? HalfToFloat(bits) : Bf16ToFloat(bits);
}

}  // namespace penstock::kernels
