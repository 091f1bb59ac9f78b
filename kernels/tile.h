// Reads single weights of a packed matrix: kernels/layout.h said in code, for the reference and for tests.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/half.h"
#include "kernels/layout.h"

namespace penstock::kernels {

inline float HalfAt(const std::byte* halves, int64_t i) {
  uint16_t bits = 0;
  std::memcpy(&bits, halves + 2 * i, sizeof(bits));
  return HalfToFloat(bits);
}

// The code of output `column` at `k` (0 … 31) of a group.
inline uint8_t CodeAt(const std::byte* group, int bits, int column, int k) {
  const int quad = k / 4;
  const auto plane = [&](int offset, int width) {  // `width` bits of this code
    const int vector = width == 4 ? quad % 4 : width == 2 ? quad / 4 : width == 1 ? 0 : quad;
    const int shift = width == 4 ? quad / 4 * 4 : width == 2 ? quad % 4 * 2 : width == 1 ? quad : 0;
    const auto byte = static_cast<uint32_t>(group[64 * (offset + vector) + 4 * column + k % 4]);
    return (byte >> shift) & ((1U << width) - 1);
  };
  switch (bits) {
    case 6:
      return static_cast<uint8_t>(plane(0, 4) | (plane(4, 2) << 4));
    case 5:
      return static_cast<uint8_t>(plane(0, 4) | (plane(4, 1) << 4));
    case 3:
      return static_cast<uint8_t>(plane(0, 2) | (plane(2, 1) << 2));
    default:
      return static_cast<uint8_t>(plane(0, bits));
  }
}

// The block that holds weight (n, k), and its shape.
struct BlockAt {
  const std::byte* block;
  BlockShape shape;

  BlockAt(const MatrixView& w, int32_t n, int32_t k)
      : block(w.data + n / kTile * w.tile_bytes + k / kSuper * w.block_bytes) {
    const int32_t left = w.k - k / kSuper * kSuper;
    shape = BlockShapeOf(w.layout, (left < kSuper ? left : kSuper) / kGroup);
  }
};

// Weight (n, k) without its scale and minimum. REQUIRES: an integer layout.
inline int32_t IntegerAt(const MatrixView& w, int32_t n, int32_t k) {
  const std::byte* group = BlockAt(w, n, k).block + int64_t{k} % kSuper / kGroup * 64 * w.layout.bits;
  return WeightOf(w.layout, CodeAt(group, w.layout.bits, n % kTile, k % kGroup));
}

// Entry (n, k) of a block's `values` (scales or mins), times that of `supers`.
inline float ScaledAt(const MatrixView& w, int32_t n, int32_t k, const std::byte* values,
                      const std::byte* supers) {
  const int64_t i = int64_t{k} % kSuper / w.layout.group * kTile + n % kTile;
  if (!w.layout.super) return HalfAt(values, i);
  return HalfAt(supers, n % kTile) * static_cast<float>(static_cast<int8_t>(values[i]));
}

inline float ScaleAt(const MatrixView& w, int32_t n, int32_t k) {
  const BlockAt at(w, n, k);
  return ScaledAt(w, n, k, at.block + at.shape.scales, at.block + at.shape.supers);
}

inline float MinAt(const MatrixView& w, int32_t n, int32_t k) {
  const BlockAt at(w, n, k);
  return ScaledAt(w, n, k, at.block + at.shape.mins, at.block + at.shape.super_mins);
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

inline float WeightAt(const MatrixView& w, int32_t n, int32_t k) {
  if (w.layout.bits == 0) return FloatAt(w, n, k);
  const float product = ScaleAt(w, n, k) * static_cast<float>(IntegerAt(w, n, k));
  return w.layout.has_min ? product - MinAt(w, n, k) : product;
}

}  // namespace penstock::kernels
