#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "kernels/kernels.h"
#include "kernels/test_util.h"

namespace penstock::kernels {
namespace {

using testing::RandomBlocks;
using testing::RandomFloats;
using testing::RandomMatrix;

// A multiple of every format's block, with an odd number of groups where the format allows.
int32_t RandomK(Format format, Random& random) {
  const int32_t elements = InfoOf(format).block_elements;
  if (elements == 1) return static_cast<int32_t>(1 + random.Below(300));
  return elements * static_cast<int32_t>(1 + random.Below(elements == 32 ? 20 : 3));
}

std::vector<uint32_t> Bits(const std::vector<float>& values) {
  std::vector<uint32_t> bits(values.size());
  std::transform(values.begin(), values.end(), bits.begin(),
                 [](float v) { return std::bit_cast<uint32_t>(v); });
  return bits;
}

constexpr float kUntouched = 12345.0F;

// Product of `rows` rows, divided at `split` outputs (a multiple of 16, or n) as by two workers.
std::vector<float> Multiply(const Kernels& kernels, const Matrix& w, const float* x, int32_t rows,
                            int32_t split) {
  Activations a;
  a.Reset(x, w.k(), rows, w.k());
  if (w.integer()) kernels.quantize_rows(0, rows, a);
  std::vector<float> out(static_cast<size_t>(rows) * w.n(), kUntouched);
  kernels.matmul(w, 0, split, a, out.data(), w.n());
  if (split < w.n()) kernels.matmul(w, split, w.n(), a, out.data(), w.n());
  return out;
}

std::vector<float> Multiply(const Kernels& kernels, const Matrix& w, const std::vector<float>& x) {
  return Multiply(kernels, w, x.data(), static_cast<int32_t>(x.size()) / w.k(), w.n());
}

TEST(Matmul, EveryVersionGivesTheReferencesBitsInEveryFormat) {
  Random random(1);
  for (const FormatInfo& info : Formats()) {
    for (int32_t m : {1, 2, 3, 5, 6, 7, 12, 13, 40}) {
      const auto n = static_cast<int32_t>(1 + random.Below(70));
      const int32_t k = RandomK(info.format, random);
      const Matrix w = RandomMatrix(info.format, n, k, random);
      const std::vector<float> x = RandomFloats(random, int64_t{m} * k);
      const std::vector<uint32_t> want = Bits(Multiply(KernelsFor(Isa::kReference), w, x));
      for (const Isa isa : SupportedIsas()) {
        ASSERT_EQ(Bits(Multiply(KernelsFor(isa), w, x)), want)
            << info.name << " on " << IsaName(isa) << ", n=" << n << " k=" << k << " m=" << m;
      }
    }
  }
}

TEST(Matmul, ARowAloneEqualsTheRowInABatchWhoeverComputesIt) {
  Random random(2);
  for (const FormatInfo& info : Formats()) {
    const int32_t n = 90, k = info.block_elements == 1 ? 133 : 768;
    const Matrix w = RandomMatrix(info.format, n, k, random);
    const std::vector<float> x = RandomFloats(random, int64_t{40} * k);
    for (const Isa isa : SupportedIsas()) {
      if (isa == Isa::kReference) continue;  // computes row by row
      const Kernels& kernels = KernelsFor(isa);
      std::vector<float> alone;
      for (int32_t row = 0; row < 40; ++row) {
        const std::vector<float> y = Multiply(kernels, w, x.data() + int64_t{row} * k, 1, n);
        alone.insert(alone.end(), y.begin(), y.end());
      }
      for (int32_t m = 2; m <= 40; ++m) {
        const auto split = static_cast<int32_t>(16 * random.Below(6));
        const std::vector<float> batch = Multiply(kernels, w, x.data(), m, split);
        const std::vector<float> want(alone.begin(), alone.begin() + int64_t{m} * n);
        ASSERT_EQ(Bits(batch), Bits(want)) << info.name << " on " << IsaName(isa) << ", m=" << m;
      }
    }
  }
}

TEST(Matmul, WritesOnlyItsOwnOutputs) {
  Random random(3);
  for (const Format format : {Format::kQ4_K, Format::kQ8_0, Format::kF32}) {
    const Matrix w = RandomMatrix(format, 50, 256, random);
    const std::vector<float> x = RandomFloats(random, 9 * 256);
    for (const Isa isa : SupportedIsas()) {
      for (const int32_t m : {1, 9}) {
        Activations a;
        a.Reset(x.data(), 256, m, 256);
        KernelsFor(isa).quantize_rows(0, m, a);
        std::vector<float> out(static_cast<size_t>(m) * 60, kUntouched);
        KernelsFor(isa).matmul(w, 16, 50, a, out.data(), 60);
        for (int32_t row = 0; row < m; ++row) {
          for (int32_t n = 0; n < 60; ++n) {
            EXPECT_EQ(out[static_cast<size_t>(row * 60 + n)] == kUntouched, n < 16 || n >= 50);
          }
        }
      }
    }
  }
}

// Each activation is off by at most half a step, scale / 2, so an output is off by at most
// Σ |w| scale / 2; and each of its fused multiply-adds rounds once at the size of the sum so far.
TEST(Matmul, IsWithinItsRoundingOfTheExactProduct) {
  Random random(4);
  for (const FormatInfo& info : Formats()) {
    const int32_t n = 40, k = 1024;
    const Matrix w = RandomMatrix(info.format, n, k, random);
    const std::vector<float> x = RandomFloats(random, k);
    const std::vector<float> y = Multiply(KernelsFor(SupportedIsas().back()), w, x);
    std::vector<float> weights(k);
    for (int32_t row = 0; row < n; ++row) {
      w.DequantizeRow(row, weights.data());
      double exact = 0, quantisation = 0, magnitude = 0;
      for (int32_t i = 0; i < k; ++i) {
        const int32_t group = i / kGroup * kGroup;
        double amax = 0;
        for (int32_t j = group; j < group + kGroup; ++j) amax = std::max<double>(amax, std::fabs(x[j]));
        exact += double{weights[i]} * x[i];
        quantisation += std::fabs(weights[i]) * amax / 127 / 2;
        magnitude += std::fabs(double{weights[i]} * x[i]);
      }
      // The integer form of K-quants cancels scale·code against the minimum: up to 64 times the weight.
      const double rounding = magnitude * 64 * (k / 16) * 0x1.0p-24;
      const double bound = (w.integer() ? quantisation * 1.001 : 0) + rounding + magnitude * k * 0x1.0p-24;
      ASSERT_NEAR(y[static_cast<size_t>(row)], exact, bound) << info.name;
      if (w.integer()) {
        ASSERT_LT(std::fabs(y[static_cast<size_t>(row)] - exact), 0.05 * magnitude);
      }
    }
  }
}

// Extremes that saturate VPMADDUBSW in a naive implementation: every code at its largest or
// smallest, activations at ±127.
TEST(Matmul, NeverSaturates) {
  for (const FormatInfo& info : Formats()) {
    if (info.block_elements == 1) continue;
    const int32_t k = 512;
    for (const int fill : {0x00, 0x7f, 0x80, 0xff}) {
      std::vector<std::byte> blocks(static_cast<size_t>(16 * k / info.block_elements * info.block_bytes),
                                    static_cast<std::byte>(fill));
      for (size_t block = 0; block < blocks.size(); block += static_cast<size_t>(info.block_bytes)) {
        for (const int offset : testing::HalfOffsets(info.format)) {
          const uint16_t one = FloatToHalf(1.0F);
          std::memcpy(blocks.data() + block + offset, &one, 2);
        }
      }
      const Matrix w = Matrix::Pack(info.format, blocks, 16, k).value();
      for (const auto& [even, odd] : {std::pair(1.0F, 1.0F), {-1.0F, -1.0F}, {1.0F, -1.0F}}) {
        std::vector<float> x(k);
        for (int32_t i = 0; i < k; ++i) x[static_cast<size_t>(i)] = i % 2 == 0 ? even : odd;
        const std::vector<uint32_t> want = Bits(Multiply(KernelsFor(Isa::kReference), w, x));
        for (const Isa isa : SupportedIsas()) {
          EXPECT_EQ(Bits(Multiply(KernelsFor(isa), w, x)), want) << info.name << " on " << IsaName(isa);
        }
      }
    }
  }
}

TEST(Matmul, FlippingOneBlockChangesTheProduct) {
  Random random(5);
  for (const FormatInfo& info : Formats()) {
    const int32_t k = 512, n = 20;
    std::vector<std::byte> blocks = RandomBlocks(info.format, n, k, random);
    const std::vector<float> x = RandomFloats(random, k);
    const Matrix before = Matrix::Pack(info.format, blocks, n, k).value();
    const size_t victim = random.Below(blocks.size() / info.block_bytes) * info.block_bytes;
    for (int i = 0; i < info.block_bytes; ++i) blocks[victim + i] ^= std::byte{0x15};
    const Matrix after = Matrix::Pack(info.format, blocks, n, k).value();
    for (const Isa isa : SupportedIsas()) {
      const Kernels& kernels = KernelsFor(isa);
      EXPECT_NE(Bits(Multiply(kernels, before, x)), Bits(Multiply(kernels, after, x))) << info.name;
    }
  }
}

TEST(Activations, AreTheSameInt8InEveryVersion) {
  Random random(6);
  for (const int32_t k : {1, 31, 32, 100, 256, 300, 896}) {
    std::vector<float> x = RandomFloats(random, int64_t{3} * k);
    x[random.Below(x.size())] = 1e-35F;
    x[random.Below(x.size())] = 1e30F;
    std::fill_n(x.begin() + k, std::min(k, 40), 0.0F);  // a group of zeros
    Activations want;
    want.Reset(x.data(), k, 3, k);
    KernelsFor(Isa::kReference).quantize_rows(0, 3, want);
    for (const Isa isa : SupportedIsas()) {
      Activations got;
      got.Reset(x.data(), k, 3, k);
      KernelsFor(isa).quantize_rows(0, 3, got);
      for (int32_t row = 0; row < 3; ++row) {
        for (int32_t b = 0; b < got.blocks(); ++b) {
          ASSERT_EQ(std::memcmp(got.block(b, row), want.block(b, row), sizeof(ActivationBlock)), 0)
              << IsaName(isa) << " k=" << k;
        }
      }
    }
  }
}

TEST(Activations, NothingFiniteOverflowsAndNothingInfiniteHides) {
  const float huge = std::numeric_limits<float>::max(), infinity = std::numeric_limits<float>::infinity();
  for (const Isa isa : SupportedIsas()) {
    for (const float odd : {huge, -huge, infinity, -infinity, std::nanf(""), 1e-40F, 0.0F}) {
      std::vector<float> x(64, 0.5F * (std::fabs(odd) < 1 ? odd : 1.0F));
      x[5] = odd;
      Activations a;
      a.Reset(x.data(), 64, 1, 64);
      KernelsFor(isa).quantize_rows(0, 1, a);
      const ActivationBlock& block = *a.block(0, 0);
      EXPECT_EQ(std::isfinite(block.scale[0]), std::isfinite(odd)) << odd;
      for (int i = 0; i < 32; ++i) EXPECT_GE(block.q[i], -127);
      EXPECT_EQ(block.q[5], std::fabs(odd) == huge ? (odd > 0 ? 127 : -127) : 0) << odd;
    }
  }
}

}  // namespace
}  // namespace penstock::kernels
