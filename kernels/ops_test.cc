#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>

#include "kernels/kernels.h"
#include "kernels/test_util.h"

namespace penstock::kernels {
namespace {

using testing::RandomFloats;

std::vector<uint32_t> Bits(const std::vector<float>& values) {
  std::vector<uint32_t> bits(values.size());
  std::transform(values.begin(), values.end(), bits.begin(),
                 [](float v) { return std::bit_cast<uint32_t>(v); });
  return bits;
}

// The result of `op` must not depend on the version.
void ExpectEqualOnEveryIsa(const std::function<std::vector<float>(const Kernels&)>& op, const char* name,
                           int32_t n) {
  const std::vector<uint32_t> want = Bits(op(KernelsFor(Isa::kReference)));
  for (const Isa isa : SupportedIsas()) {
    ASSERT_EQ(Bits(op(KernelsFor(isa))), want) << name << " on " << IsaName(isa) << ", n=" << n;
  }
}

TEST(Ops, EveryVersionGivesTheReferencesBits) {
  Random random(1);
  for (const int32_t n : {1, 2, 15, 16, 17, 32, 100, 896, 1000}) {
    const std::vector<float> x = RandomFloats(random, n, 8), y = RandomFloats(random, n, 8);
    ExpectEqualOnEveryIsa(
        [&](const Kernels& k) {
          std::vector<float> out(x.size());
          k.rms_norm(x.data(), y.data(), n, 1e-6F, out.data());
          return out;
        },
        "rms_norm", n);
    ExpectEqualOnEveryIsa(
        [&](const Kernels& k) {
          std::vector<float> out = x;
          k.add(out.data(), y.data(), n);
          k.add_scaled(out.data(), y.data(), 0.3F, n);
          return out;
        },
        "add", n);
    ExpectEqualOnEveryIsa(
        [&](const Kernels& k) {
          std::vector<float> out(x.size());
          k.silu_mul(x.data(), y.data(), n, out.data());
          return out;
        },
        "silu_mul", n);
    ExpectEqualOnEveryIsa(
        [&](const Kernels& k) {
          std::vector<float> out = x;
          k.softmax(out.data(), n);
          return out;
        },
        "softmax", n);
    for (const bool neox : {false, true}) {
      ExpectEqualOnEveryIsa(
          [&](const Kernels& k) {
            std::vector<float> out = x;
            k.rope(out.data(), y.data(), y.data() + n / 2, n / 2 * 2, neox);
            return out;
          },
          "rope", n);
    }
  }
}

// exp seen through softmax of {0, x}: p1 / p0 = exp(x), both rounded by the same factor.
TEST(Ops, SoftmaxAndSiluAreAccurateOverTheirWholeRange) {
  for (const Isa isa : SupportedIsas()) {
    const Kernels& kernels = KernelsFor(isa);
    for (float x = 0; x > -110; x -= 0.0371F) {
      float p[2] = {0, x};
      kernels.softmax(p, 2);
      const double want = std::exp(double{x}) / (1 + std::exp(double{x}));
      // 4 roundings at 2^-24 each and exp's own ulp; below the normal range the last place is 2^-149.
      ASSERT_NEAR(p[1], want, want * 6 * 0x1.0p-24 + 0x1.0p-149) << x << " on " << IsaName(isa);
    }
    for (float x = -120; x < 120; x += 0.0613F) {
      const float one = 1;
      float y = 0;
      kernels.silu_mul(&x, &one, 1, &y);
      const double want = x / (1 + std::exp(-double{x}));
      // Below -88.7 exp(-x) is infinite and silu is 0 instead of -10^-37.
      ASSERT_NEAR(y, want, std::fabs(want) * 6 * 0x1.0p-24 + 1e-36) << x << " on " << IsaName(isa);
    }
  }
}

TEST(Ops, SoftmaxGivesNothingToMinusInfinity) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const Isa isa : SupportedIsas()) {
    std::vector<float> p(20, -infinity);
    p[3] = p[17] = 2;
    KernelsFor(isa).softmax(p.data(), 20);
    for (size_t i = 0; i < p.size(); ++i) EXPECT_EQ(p[i], i == 3 || i == 17 ? 0.5F : 0.0F);
  }
}

TEST(Ops, RmsNormMakesRowsOfUnitMeanSquare) {
  Random random(2);
  const std::vector<float> x = RandomFloats(random, 300, 5), ones(300, 1.0F);
  std::vector<float> out(300);
  KernelsFor(SupportedIsas().back()).rms_norm(x.data(), ones.data(), 300, 0, out.data());
  double square = 0;
  for (const float v : out) square += double{v} * v / 300;
  EXPECT_NEAR(square, 1, 1e-5);
}

TEST(Half, RoundsToNearestEvenAsTheHardwareDoes) {
  Random random(3);
  for (int i = 0; i < 1'000'000; ++i) {
    const auto value = std::bit_cast<float>(static_cast<uint32_t>(random.Next()));
    if (std::isnan(value)) continue;
    ASSERT_EQ(FloatToHalf(value), std::bit_cast<uint16_t>(static_cast<_Float16>(value))) << value;
  }
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    if ((half & 0x7fff) > 0x7c00) continue;
    ASSERT_EQ(HalfToFloat(half), static_cast<float>(std::bit_cast<_Float16>(half)));
    ASSERT_EQ(FloatToHalf(HalfToFloat(half)), half);
  }
}

}  // namespace
}  // namespace penstock::kernels
