// The readable reference: simple loops, exactly as the numeric contract in kernels/kernels.h defines.
// std::fma is exact on every machine; this file is compiled for the baseline instruction set only.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/exp.h"
#include "kernels/half.h"
#include "kernels/kernels.h"
#include "kernels/matrix.h"
#include "kernels/tile.h"
#include "kernels/versions.h"

namespace penstock::kernels {
namespace {

constexpr int kLanes = 16;
using Lanes = std::array<float, kLanes>;

// Joins the virtual lanes: 8 + 8, 4 + 4, 2 + 2, 1 + 1.
float SumOf(Lanes lanes) {
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

float PowerOfTwo(int n) {  // -126 ≤ n ≤ 127
  return std::bit_cast<float>(static_cast<uint32_t>(n + 127) << 23);
}

float Exp(float x) {
  if (std::isnan(x)) return x;
  x = std::min(std::max(x, kExpLowest), kExpHighest);
  const float n = std::nearbyint(x * kLog2E);
  float r = std::fma(n, kMinusLn2High, x);
  r = std::fma(n, kMinusLn2Low, r);
  float p = kExpPoly[0];
  for (int i = 1; i < 8; ++i) p = std::fma(p, r, kExpPoly[i]);
  const int whole = static_cast<int>(n), half = whole >> 1;
  return p * PowerOfTwo(half) * PowerOfTwo(whole - half);
}

float Silu(float x) {
  return x / (1.0F + Exp(-x));
}

// --- activations ---

// The largest |x|; a NaN counts as larger than everything.
float AbsMax(const float* x, int n) {
  uint32_t bits = 0;
  for (int i = 0; i < n; ++i) bits = std::max(bits, std::bit_cast<uint32_t>(x[i]) & 0x7fffffff);
  return std::bit_cast<float>(bits);
}

// Group g of a block from `count` floats (fewer than 32 at the row's end; the rest are zeros).
void QuantizeGroup(const float* x, int count, int g, ActivationBlock& block) {
  int8_t* q = block.q + g * kGroup;
  const float amax = AbsMax(x, count);
  const bool finite = amax >= kSmallestAmax && amax <= std::numeric_limits<float>::max();
  const float inverse = finite ? 127.0F / amax : 0.0F;
  const float scale = finite ? amax / 127.0F : amax < kSmallestAmax ? 0.0F : amax;
  for (int i = 0; i < kGroup; ++i) {
    q[i] = finite && i < count ? static_cast<int8_t>(std::nearbyint(x[i] * inverse)) : int8_t{0};
  }
  int32_t sums[2] = {};
  for (int i = 0; i < kGroup; ++i) sums[i / 16] += q[i];
  block.minus_sum16[2 * g] = -sums[0];
  block.minus_sum16[2 * g + 1] = -sums[1];
  block.minus_sum[g] = -(sums[0] + sums[1]);
  block.scale[g] = scale;
  block.min_sum[g] = scale * static_cast<float>(sums[0] + sums[1]);
}

void QuantizeRows(int32_t begin, int32_t end, Activations& a) {
  for (int32_t row = begin; row < end; ++row) {
    for (int32_t k = 0; k < a.blocks() * kSuper; k += kGroup) {
      const int count = std::clamp(a.k() - k, 0, kGroup);
      QuantizeGroup(a.x(row) + k, count, k % kSuper / kGroup, *a.block(k / kSuper, row));
    }
  }
}

// --- matmul ---

float IntegerDot(const MatrixView& w, int32_t n, const Activations& a, int32_t row) {
  WeightGroup group;
  float acc = 0;
  for (int32_t k = 0; k < w.k; k += w.layout.group) {
    ReadGroup(w, n, k, group);
    const ActivationBlock& block = *a.block(k / kSuper, row);
    int32_t dot = 0, sum = 0;
    for (int i = 0; i < w.layout.group; ++i) {
      const int32_t q = block.q[k % kSuper + i];
      dot += group.integer[i] * q;
      sum += q;
    }
    const float a_scale = block.scale[k % kSuper / kGroup];
    acc = std::fma(static_cast<float>(dot), group.scale * a_scale, acc);
    if (w.layout.has_min) acc = std::fma(-group.min, a_scale * static_cast<float>(sum), acc);
  }
  return acc;
}

float FloatDot(const MatrixView& w, int32_t n, const float* x) {
  float acc = 0;
  for (int32_t k = 0; k < w.k; ++k) acc = std::fma(FloatAt(w, n, k), x[k], acc);
  return acc;
}

void Matmul(const Matrix& matrix, int32_t n_begin, int32_t n_end, const Activations& a, float* out,
            int64_t out_stride) {
  const MatrixView& w = matrix.view();
  for (int32_t row = 0; row < a.rows(); ++row) {
    for (int32_t n = n_begin; n < n_end; ++n) {
      out[row * out_stride + n] = w.layout.bits != 0 ? IntegerDot(w, n, a, row) : FloatDot(w, n, a.x(row));
    }
  }
}

// --- along a row ---

void RmsNorm(const float* x, const float* weight, int32_t n, float eps, float* out) {
  Lanes squares = {};
  for (int32_t i = 0; i < n; ++i) squares[i % kLanes] = std::fma(x[i], x[i], squares[i % kLanes]);
  const float inverse = 1.0F / std::sqrt(SumOf(squares) / static_cast<float>(n) + eps);
  for (int32_t i = 0; i < n; ++i) out[i] = x[i] * inverse * weight[i];
}

void Add(float* x, const float* y, int32_t n) {
  for (int32_t i = 0; i < n; ++i) x[i] += y[i];
}

void SiluMul(const float* gate, const float* up, int32_t n, float* out) {
  for (int32_t i = 0; i < n; ++i) out[i] = Silu(gate[i]) * up[i];
}

void AddScaled(float* x, const float* y, float scale, int32_t n) {
  for (int32_t i = 0; i < n; ++i) x[i] = std::fma(scale, y[i], x[i]);
}

void Rope(float* head, const float* cos, const float* sin, int32_t rotary_dim, bool neox) {
  const int32_t half = rotary_dim / 2;
  for (int32_t i = 0; i < half; ++i) {
    float& a = neox ? head[i] : head[2 * i];
    float& b = neox ? head[i + half] : head[2 * i + 1];
    const float a0 = a, b0 = b;
    a = std::fma(a0, cos[i], -(b0 * sin[i]));
    b = std::fma(b0, cos[i], a0 * sin[i]);
  }
}

void Softmax(float* p, int32_t n) {
  float max = -std::numeric_limits<float>::infinity();
  for (int32_t i = 0; i < n; ++i) max = std::max(max, p[i]);
  Lanes sums = {};
  for (int32_t i = 0; i < n; ++i) {
    p[i] = Exp(p[i] - max);
    sums[i % kLanes] += p[i];
  }
  const float inverse = 1.0F / SumOf(sums);
  for (int32_t i = 0; i < n; ++i) p[i] *= inverse;
}

// --- attention ---

float LoadKv(const std::byte* page, int64_t i, KvType type) {
  if (type == KvType::kF16) return HalfAt(page, i);
  float value = 0;
  std::memcpy(&value, page + 4 * i, sizeof(value));
  return value;
}

void StoreOne(float value, std::byte* page, int64_t i, KvType type) {
  if (type == KvType::kF32) {
    std::memcpy(page + 4 * i, &value, sizeof(value));
  } else {
    const uint16_t half = FloatToHalf(value);
    std::memcpy(page + 2 * i, &half, sizeof(half));
  }
}

void StoreKv(const float* k, const float* v, int32_t head_dim, int32_t slot, KvType type, std::byte* k_page,
             std::byte* v_page) {
  for (int32_t d = 0; d < head_dim; ++d) {
    StoreOne(k[d], k_page, int64_t{d} * kPageTokens + slot, type);
    StoreOne(v[d], v_page, int64_t{slot} * head_dim + d, type);
  }
}

struct Fold {  // the softmax so far, of one query
  float max = -std::numeric_limits<float>::infinity();
  Lanes sum = {};
};

// Folds the first `keys` keys of page `page` into one query's `output`.
void FoldPage(const Attention& args, int32_t page, int32_t keys, const float* q, Fold& fold, float* output) {
  const std::byte *k_page = args.k_pages[page], *v_page = args.v_pages[page];
  float score[kPageTokens] = {};
  float max = fold.max;
  for (int32_t key = 0; key < keys; ++key) {
    float dot = 0;
    for (int32_t d = 0; d < args.head_dim; ++d) {
      dot = std::fma(q[d], LoadKv(k_page, int64_t{d} * kPageTokens + key, args.kv), dot);
    }
    score[key] = dot * args.scale;
    max = std::max(max, score[key]);
  }
  if (max > fold.max) {
    const float rescale = Exp(fold.max - max);
    for (float& lane : fold.sum) lane *= rescale;
    for (int32_t d = 0; d < args.head_dim; ++d) output[d] *= rescale;
    fold.max = max;
  }
  for (int32_t key = 0; key < keys; ++key) {
    const float p = Exp(score[key] - max);
    fold.sum[key] += p;
    for (int32_t d = 0; d < args.head_dim; ++d) {
      output[d] = std::fma(p, LoadKv(v_page, int64_t{key} * args.head_dim + d, args.kv), output[d]);
    }
  }
}

void AttendOne(const Attention& args, int32_t keys, const float* q, float* out, float* output) {
  std::fill_n(output, args.head_dim, 0.0F);
  Fold fold;
  for (int32_t first = 0; first < keys; first += kPageTokens) {
    FoldPage(args, first / kPageTokens, std::min(kPageTokens, keys - first), q, fold, output);
  }
  const float inverse = 1.0F / SumOf(fold.sum);
  for (int32_t d = 0; d < args.head_dim; ++d) out[d] = output[d] * inverse;
}

void Attend(const Attention& args, float* scratch) {
  for (int32_t row = 0; row < args.rows; ++row) {
    for (int32_t head = 0; head < args.group; ++head) {
      const int64_t column = int64_t{head} * args.head_dim;
      AttendOne(args, args.first_pos + row + 1, args.q + row * args.q_stride + column,
                args.out + row * args.out_stride + column, scratch);
    }
  }
}

}  // namespace

const Kernels& ReferenceKernels() {
  static constexpr Kernels kKernels = {
      .isa = Isa::kReference,
      .quantize_rows = QuantizeRows,
      .matmul = Matmul,
      .rms_norm = RmsNorm,
      .add = Add,
      .silu_mul = SiluMul,
      .add_scaled = AddScaled,
      .rope = Rope,
      .softmax = Softmax,
      .store_kv = StoreKv,
      .attention = Attend,
  };
  return kKernels;
}

}  // namespace penstock::kernels
