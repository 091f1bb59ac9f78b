// Random weights and activations for the tests and benches of kernels.
#pragma once

#include <cmath>
#include <cstring>
#include <span>
#include <vector>

#include "base/random.h"
#include "kernels/half.h"
#include "kernels/matrix.h"

namespace penstock::kernels::testing {

inline float RandomFloat(Random& random, float amplitude = 1.0F) {
  return (static_cast<float>(random.NextUniform()) * 2 - 1) * amplitude;
}

inline std::vector<float> RandomFloats(Random& random, int64_t count, float amplitude = 1.0F) {
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = RandomFloat(random, amplitude);
  return values;
}

// The byte offsets of f16 values in a block of `format`.
inline std::span<const int> HalfOffsets(Format format) {
  static constexpr int kAtStart[] = {0}, kTwo[] = {0, 2}, kQ2[] = {80, 82}, kQ3[] = {108}, kQ6[] = {208};
  switch (format) {
    case Format::kF32:
    case Format::kBF16:
      return {};
    case Format::kQ4_1:
    case Format::kQ5_1:
    case Format::kQ4_K:
    case Format::kQ5_K:
      return kTwo;
    case Format::kQ2_K:
      return kQ2;
    case Format::kQ3_K:
      return kQ3;
    case Format::kQ6_K:
      return kQ6;
    default:
      return kAtStart;
  }
}

// n rows of k weights in random blocks, with scales similar to those of a real model.
inline std::vector<std::byte> RandomBlocks(Format format, int64_t n, int64_t k, Random& random) {
  const FormatInfo& info = InfoOf(format);
  const int64_t blocks = n * k / info.block_elements;
  std::vector<std::byte> bytes(static_cast<size_t>(blocks * info.block_bytes));
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.Next() & 0xff);
  for (int64_t b = 0; b < blocks; ++b) {
    std::byte* block = bytes.data() + b * info.block_bytes;
    if (format == Format::kF32) {
      const float value = RandomFloat(random, 0.05F);
      std::memcpy(block, &value, 4);
    } else if (format == Format::kBF16) {
      const auto bits = static_cast<uint16_t>(std::bit_cast<uint32_t>(RandomFloat(random, 0.05F)) >> 16);
      std::memcpy(block, &bits, 2);
    }
    for (const int offset : HalfOffsets(format)) {
      const uint16_t bits = FloatToHalf(RandomFloat(random, 0.02F));
      std::memcpy(block + offset, &bits, 2);
    }
  }
  return bytes;
}

inline Matrix RandomMatrix(Format format, int32_t n, int32_t k, Random& random) {
  return Matrix::Pack(format, RandomBlocks(format, n, k, random), n, k).value();
}

}  // namespace penstock::kernels::testing
