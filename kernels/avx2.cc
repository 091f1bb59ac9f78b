// AVX2 with FMA and F16C: what differs from the other versions; the rest is in the ops_*.h files.
#include <immintrin.h>

#include "kernels/lanes.h"
#include "kernels/matrix.h"
#include "kernels/versions.h"

namespace penstock::kernels {
namespace {

// Register blocks for 16 registers of 8 lanes; a 16-lane value takes two.
constexpr int kFloatRows = 2;
constexpr int kIntegerRows = 3;
constexpr int kScoreQueries = 4, kValueQueries = 2, kValueSlices = 2;
constexpr int64_t kCachedBytes = int64_t{128} << 10;

// VPMADDUBSW adds two products in 16 bits and saturates. Codes of up to 6 bits cannot saturate; codes of 8
// bits can, so they become signed and their sign is moved to the activations: |w| ≤ 128, |a| ≤ 127, and 2 *
// 128 * 127 fits.
constexpr bool kWideIsSigned = true;

PENSTOCK_LANES __m256i Half(Codes v, int i) {
  __m256i half;
  std::memcpy(&half, reinterpret_cast<const char*>(&v) + 32 * i, sizeof(half));
  return half;
}

PENSTOCK_LANES Codes Lookup16(const uint8_t (&table)[16], Codes codes) {
  const __m256i values =
      _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
  const __m256i halves[2] = {_mm256_shuffle_epi8(values, Half(codes, 0)),
                             _mm256_shuffle_epi8(values, Half(codes, 1))};
  std::memcpy(&codes, halves, sizeof(codes));
  return codes;
}

// How many quads' pairs add up in 16 bits: n * 2 * (2^width - 1) * 127 ≤ 32767.
constexpr int QuadsPer16Bits(int width) {
  return width <= 4 ? 8 : width == 5 ? 4 : width == 6 ? 2 : 1;
}

template <int kWidth>
PENSTOCK_LANES __m256i PairSums(__m256i codes, __m256i activations) {
  if constexpr (kWidth < 8) return _mm256_maddubs_epi16(codes, activations);
  return _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(activations, codes));
}

// dot[r] += codes · activations of row r, over kQuads quads.
template <int kWidth, int kQuads, int kRows>
PENSTOCK_LANES void DotGroup(const Codes* codes, const int8_t* q, Ints (&dot)[kRows]) {
  constexpr int kRun = QuadsPer16Bits(kWidth) < kQuads ? QuadsPer16Bits(kWidth) : kQuads;
  const __m256i ones = _mm256_set1_epi16(1);
#pragma unroll
  for (int first = 0; first < kQuads; first += kRun) {
    __m256i sums[kRows][2];
#pragma unroll
    for (int quad = first; quad < first + kRun; ++quad) {
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        int32_t four = 0;
        std::memcpy(&four, q + r * sizeof(ActivationBlock) + 4 * quad, sizeof(four));
        const __m256i activations = _mm256_set1_epi32(four);
        for (int i = 0; i < 2; ++i) {
          const __m256i pairs = PairSums<kWidth>(Half(codes[quad], i), activations);
          sums[r][i] = quad == first ? pairs : _mm256_add_epi16(sums[r][i], pairs);
        }
      }
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const __m256i both[2] = {_mm256_madd_epi16(sums[r][0], ones), _mm256_madd_epi16(sums[r][1], ones)};
      Ints sum;
      std::memcpy(&sum, both, sizeof(sum));
      dot[r] += sum;
    }
  }
}

}  // namespace
}  // namespace penstock::kernels

#include "kernels/ops_table.h"

namespace penstock::kernels {

const Kernels& Avx2Kernels() {
  static constexpr Kernels kKernels = KernelTable(Isa::kAvx2);
  return kKernels;
}

}  // namespace penstock::kernels
