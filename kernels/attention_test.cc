#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/kernels.h"
#include "kernels/test_util.h"

namespace penstock::kernels {
namespace {

using testing::RandomFloats;

struct Shape {
  int32_t head_dim, group, tokens;
  KvType kv;
};

// One KV head of a sequence of random tokens. Slots that no token has written hold NaNs.
struct Sequence {
  Shape shape;
  std::vector<float> q, k, v;  // [tokens][group * head_dim], [tokens][head_dim] twice
  std::vector<std::byte> memory;
  std::vector<const std::byte*> k_pages, v_pages;

  Sequence(Shape s, const Kernels& kernels, uint64_t seed) : shape(s) {
    Random random(seed);
    q = RandomFloats(random, int64_t{s.tokens} * s.group * s.head_dim, 3);
    k = RandomFloats(random, int64_t{s.tokens} * s.head_dim);
    v = RandomFloats(random, int64_t{s.tokens} * s.head_dim);
    const int64_t page = s.head_dim * kPageTokens * KvBytes(s.kv);
    memory.assign(static_cast<size_t>(2 * PagesFor(s.tokens) * page), std::byte{0xff});
    for (int32_t p = 0; p < PagesFor(s.tokens); ++p) {
      k_pages.push_back(memory.data() + (2 * p) * page);
      v_pages.push_back(memory.data() + (2 * p + 1) * page);
    }
    for (int32_t t = 0; t < s.tokens; ++t) Write(kernels, t);
  }

  void Write(const Kernels& kernels, int32_t t) {
    const size_t page = static_cast<size_t>(t / kPageTokens);
    kernels.store_kv(k.data() + int64_t{t} * shape.head_dim, v.data() + int64_t{t} * shape.head_dim,
                     shape.head_dim, t % kPageTokens, shape.kv, const_cast<std::byte*>(k_pages[page]),
                     const_cast<std::byte*>(v_pages[page]));
  }

  // Attention of all tokens, in chunks of `chunk` rows.
  std::vector<float> Attend(const Kernels& kernels, int32_t chunk) const {
    std::vector<float> out(q.size());
    const int64_t stride = int64_t{shape.group} * shape.head_dim;
    for (int32_t first = 0; first < shape.tokens; first += chunk) {
      const Attention args = {.q = q.data() + first * stride,
                              .q_stride = stride,
                              .out = out.data() + first * stride,
                              .out_stride = stride,
                              .rows = std::min(chunk, shape.tokens - first),
                              .first_pos = first,
                              .group = shape.group,
                              .head_dim = shape.head_dim,
                              .scale = 1 / std::sqrt(static_cast<float>(shape.head_dim)),
                              .k_pages = k_pages.data(),
                              .v_pages = v_pages.data(),
                              .kv = shape.kv};
      std::vector<float> scratch(static_cast<size_t>(AttentionScratchFloats(args)));
      kernels.attention(args, scratch.data());
    }
    return out;
  }
};

std::vector<uint32_t> Bits(const std::vector<float>& values) {
  std::vector<uint32_t> bits(values.size());
  std::transform(values.begin(), values.end(), bits.begin(),
                 [](float v) { return std::bit_cast<uint32_t>(v); });
  return bits;
}

constexpr Shape kShapes[] = {
    {64, 7, 70, KvType::kF16},  {128, 2, 50, KvType::kF16}, {128, 1, 33, KvType::kF32},
    {64, 3, 100, KvType::kF32}, {8, 2, 40, KvType::kF16},   {80, 4, 35, KvType::kF16},
    {20, 1, 18, KvType::kF32},  {4, 9, 17, KvType::kF16},
};

TEST(Attention, EveryVersionGivesTheReferencesBitsWhateverTheChunk) {
  for (const Shape& shape : kShapes) {
    const Kernels& reference = KernelsFor(Isa::kReference);
    const Sequence sequence(shape, reference, 1);
    const std::vector<uint32_t> want = Bits(sequence.Attend(reference, shape.tokens));
    for (const Isa isa : SupportedIsas()) {
      for (const int32_t chunk : {1, 2, 5, 13, 16, 64, 100}) {
        const Sequence own(shape, KernelsFor(isa), 1);  // stored by this version too
        ASSERT_EQ(Bits(own.Attend(KernelsFor(isa), chunk)), want)
            << IsaName(isa) << " head_dim=" << shape.head_dim << " group=" << shape.group
            << " chunk=" << chunk;
      }
    }
  }
}

// Keys after a query must not affect it, written or not. NaNs in unwritten slots are tested above; here
// later tokens change, and earlier outputs must not.
TEST(Attention, IsCausalToTheBit) {
  const Shape shape = {64, 2, 48, KvType::kF16};
  for (const Isa isa : SupportedIsas()) {
    Sequence sequence(shape, KernelsFor(isa), 2);
    const std::vector<float> before = sequence.Attend(KernelsFor(isa), 48);
    for (int32_t t = 20; t < 48; ++t) {
      for (int32_t d = 0; d < 64; ++d) {
        sequence.k[static_cast<size_t>(t * 64 + d)] = std::numeric_limits<float>::infinity();
        sequence.v[static_cast<size_t>(t * 64 + d)] = std::nanf("");
      }
      sequence.Write(KernelsFor(isa), t);
    }
    const std::vector<float> after = sequence.Attend(KernelsFor(isa), 48);
    const auto end = 20 * 2 * 64;
    EXPECT_EQ(Bits({before.begin(), before.begin() + end}), Bits({after.begin(), after.begin() + end}));
  }
}

// Scores and weights are f32 (error ≤ 2^-24 per step, tens of steps); with f16 pages, keys and values have an
// error of 2^-11: scores of about 10 change by 10 · 2^-11, so weights change by half a percent.
TEST(Attention, IsWithinItsRoundingOfTheExactSoftmax) {
  for (const Shape& shape : kShapes) {
    const Kernels& kernels = KernelsFor(SupportedIsas().back());
    const Sequence s(shape, kernels, 3);
    const std::vector<float> out = s.Attend(kernels, 16);
    for (int32_t t = 0; t < shape.tokens; ++t) {
      for (int32_t h = 0; h < shape.group; ++h) {
        const int64_t query = (int64_t{t} * shape.group + h) * shape.head_dim;
        std::vector<double> score(static_cast<size_t>(t + 1));
        for (int32_t key = 0; key <= t; ++key) {
          double dot = 0;
          for (int32_t d = 0; d < shape.head_dim; ++d) {
            dot += double{s.q[query + d]} * s.k[int64_t{key} * shape.head_dim + d];
          }
          score[key] = dot / std::sqrt(shape.head_dim);
        }
        const double max = *std::max_element(score.begin(), score.end());
        double sum = 0;
        for (double& value : score) sum += value = std::exp(value - max);
        for (int32_t d = 0; d < shape.head_dim; ++d) {
          double want = 0;
          for (int32_t key = 0; key <= t; ++key) {
            want += score[key] / sum * s.v[int64_t{key} * shape.head_dim + d];
          }
          ASSERT_NEAR(out[query + d], want, shape.kv == KvType::kF16 ? 5e-3 : 1e-5);
        }
      }
    }
  }
}

}  // namespace
}  // namespace penstock::kernels
