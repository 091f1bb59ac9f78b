// AVX-512 (F, BW, DQ, VL, VNNI): what differs from the other versions; the rest is in the ops_*.h files.
#include <immintrin.h>

#include "kernels/lanes.h"
#include "kernels/matrix.h"
#include "kernels/versions.h"

namespace penstock::kernels {
namespace {

// Register blocks for 32 registers of 16 lanes.
constexpr int kFloatRows = 6;
constexpr int kIntegerRows = 8;
constexpr int kScoreQueries = 8, kValueQueries = 4, kValueSlices = 4;
constexpr int64_t kCachedBytes = int64_t{256} << 10;  // half of a usual second-level cache

constexpr bool kWideIsSigned = false;

PENSTOCK_LANES Codes Lookup16(const uint8_t (&table)[16], Codes codes) {
  const __m512i values = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
  return reinterpret_cast<Codes>(_mm512_shuffle_epi8(values, reinterpret_cast<__m512i>(codes)));
}

// dot[r] += codes · activations of row r, over kQuads quads. VPDPBUSD does not saturate.
template <int kWidth, int kQuads, int kRows>
PENSTOCK_LANES void DotGroup(const Codes* codes, const int8_t* q, Ints (&dot)[kRows]) {
#pragma unroll
  for (int quad = 0; quad < kQuads; ++quad) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      int32_t four = 0;
      std::memcpy(&four, q + r * sizeof(ActivationBlock) + 4 * quad, sizeof(four));
      dot[r] = reinterpret_cast<Ints>(_mm512_dpbusd_epi32(reinterpret_cast<__m512i>(dot[r]),
                                                          reinterpret_cast<__m512i>(codes[quad]),
                                                          _mm512_set1_epi32(four)));
    }
  }
}

}  // namespace
}  // namespace penstock::kernels

#include "kernels/ops_table.h"

namespace penstock::kernels {

const Kernels& Avx512Kernels() {
  static constexpr Kernels kKernels = KernelTable(Isa::kAvx512);
  return kKernels;
}

}  // namespace penstock::kernels
