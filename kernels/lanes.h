// Sixteen virtual lanes with the compiler's vector extension: one AVX-512 register or two of AVX2.
//
// This and the ops_*.h files are the elementwise half of a version. avx2.cc and avx512.cc include them
// once each and are compiled with their own instruction sets; everything stands in an unnamed namespace,
// so that the linker never confuses the code of two versions.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "kernels/exp.h"

namespace penstock::kernels {
namespace {

constexpr int kLanes = 16;
using Floats = float __attribute__((vector_size(64)));
using Ints = int32_t __attribute__((vector_size(64)));
using Halves = _Float16 __attribute__((vector_size(32)));
using Codes = uint8_t __attribute__((vector_size(64)));  // a quad of 16 outputs (kernels/layout.h)

#define PENSTOCK_LANES [[gnu::always_inline]] inline

PENSTOCK_LANES Floats All(float x) {
  return Floats{} + x;
}

PENSTOCK_LANES Floats Load(const float* p) {
  Floats v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}

PENSTOCK_LANES void Store(float* p, Floats v) {
  std::memcpy(p, &v, sizeof(v));
}

PENSTOCK_LANES Floats LoadHalves(const void* p) {
  Halves v;
  std::memcpy(&v, p, sizeof(v));
  return __builtin_convertvector(v, Floats);
}

// The first n < 16 lanes; LoadFirst fills the rest with zeros. Neither accesses memory beyond them.
#ifdef __AVX512F__
PENSTOCK_LANES Floats LoadFirst(const float* p, int n) {
  return reinterpret_cast<Floats>(_mm512_maskz_loadu_ps(static_cast<__mmask16>((1U << n) - 1), p));
}

PENSTOCK_LANES void StoreFirst(float* p, Floats v, int n) {
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1U << n) - 1), reinterpret_cast<__m512>(v));
}
#else
PENSTOCK_LANES Floats LoadFirst(const float* p, int n) {
  Floats v = {};
  std::memcpy(&v, p, static_cast<size_t>(n) * sizeof(float));
  return v;
}

PENSTOCK_LANES void StoreFirst(float* p, Floats v, int n) {
  std::memcpy(p, &v, static_cast<size_t>(n) * sizeof(float));
}
#endif

PENSTOCK_LANES Floats Fma(Floats a, Floats b, Floats c) {
  return __builtin_elementwise_fma(a, b, c);
}

// b where a is a NaN, as in MAXPS.
PENSTOCK_LANES Floats Larger(Floats a, Floats b) {
  return a > b ? a : b;
}

PENSTOCK_LANES Floats Smaller(Floats a, Floats b) {
  return a < b ? a : b;
}

// `v` in the first n lanes, `other` in the rest.
PENSTOCK_LANES Floats FirstOr(Floats v, int n, float other) {
  constexpr Ints kIndex = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return kIndex < n ? v : All(other);
}

// The fixed tree: 8 + 8, 4 + 4, 2 + 2, 1 + 1.
PENSTOCK_LANES float SumOf(Floats v) {
  const auto a = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                 __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
  const auto b = __builtin_shufflevector(a, a, 0, 1, 2, 3) + __builtin_shufflevector(a, a, 4, 5, 6, 7);
  const auto c = __builtin_shufflevector(b, b, 0, 1) + __builtin_shufflevector(b, b, 2, 3);
  return c[0] + c[1];
}

PENSTOCK_LANES float MaxOf(Floats v) {
  const auto larger = [](auto x, auto y) { return x > y ? x : y; };
  const auto a = larger(__builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7),
                        __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15));
  const auto b = larger(__builtin_shufflevector(a, a, 0, 1, 2, 3), __builtin_shufflevector(a, a, 4, 5, 6, 7));
  const float low = b[0] > b[2] ? b[0] : b[2], high = b[1] > b[3] ? b[1] : b[3];
  return low > high ? low : high;
}

// kernels/exp.h.
PENSTOCK_LANES Floats Exp(Floats x) {
  x = Larger(All(kExpLowest), x);
  x = Smaller(All(kExpHighest), x);
  const Floats n = __builtin_elementwise_roundeven(x * kLog2E);
  Floats r = Fma(n, All(kMinusLn2High), x);
  r = Fma(n, All(kMinusLn2Low), r);
  Floats p = All(kExpPoly[0]);
  for (int i = 1; i < 8; ++i) p = Fma(p, r, All(kExpPoly[i]));
  const Ints whole = __builtin_convertvector(n, Ints), half = whole >> 1;
  const auto power = [](Ints e) { return reinterpret_cast<Floats>((e + 127) << 23); };
  return p * power(half) * power(whole - half);
}

}  // namespace
}  // namespace penstock::kernels
