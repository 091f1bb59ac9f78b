// exp in f32, the same operations in every version: n = round(x * log2 e) (to nearest even),
// r = x - n ln 2 by two fused multiply-adds, a polynomial in r (minimax, degree 7; coefficients as in
// Cephes) by Horner's rule, then times 2^⌊n/2⌋ and times 2^(n - ⌊n/2⌋): the first product is exact, so
// results below the normal range round once. Error ≤ 1 ulp; exp(0) is exactly 1; -∞ gives 0, ∞ gives ∞.
#pragma once

namespace penstock::kernels {

// x is clamped to these first; a NaN stays.
constexpr float kExpLowest = -104.0F;  // exp of it rounds to 0
constexpr float kExpHighest = 89.0F;   // exp of it exceeds the largest float
constexpr float kLog2E = 1.44269504F;
constexpr float kMinusLn2High = -0.693147182F, kMinusLn2Low = 1.90465432e-9F;
// Coefficients of r^7 … r^2, then of r and 1.
constexpr float kExpPoly[8] = {1.9875691500e-4F,
                               1.3981999507e-3F,
                               8.3334519073e-3F,
                               4.1665795894e-2F,
                               1.6666665459e-1F,
                               5.0000001201e-1F,
                               1.0F,
                               1.0F};

// Below this, a group of activations counts as zeros: 127 / amax would overflow.
constexpr float kSmallestAmax = 0x1.0p-100F;

}  // namespace penstock::kernels
