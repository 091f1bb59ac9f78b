// Kernels: the arithmetic of a transformer step on a CPU, as a table of functions per instruction set.
//
// NUMERIC CONTRACT. Every version of a kernel (reference, AVX2, AVX-512) gives the same bits, whatever
// the batch, the chunk or the thread that computes it (NaNs: a NaN, of any payload):
//  - Integer weights: activations are quantised to int8 in groups of 32: scale = amax / 127,
//    q = round-to-nearest-even(x * (127 / amax)); amax below 2^-100, infinite or NaN: all q are 0 and
//    scale = amax (flushed to 0 if small). The dot of each weight group (16 or 32) with them is an exact
//    integer; each output is ONE chain of fused multiply-adds over its groups in ascending k, from +0:
//        acc = fma(float(idot_g), w_scale_g * a_scale_g, acc);  with a minimum then:
//        acc = fma(-w_min_g, a_scale_g * float(asum_g), acc)
//  - F32, F16, BF16 weights multiply in f32: one fma chain per output, k ascending, from +0.
//  - SIMD lanes are different outputs (or different keys of one KV page), so no sum depends on the width.
//    Where a sum must run along a row (RMS norm, softmax), it runs in 16 virtual lanes (element i goes to
//    lane i % 16) and a fixed tree joins them: 8+8, 4+4, 2+2, 1+1.
//  - exp and silu are ours (kernels/exp.h: the same polynomial in every version); 1/sqrt is IEEE sqrt and
//    divide.
//  - Attention: score = (fma chain over head_dim) * scale. Softmax is folded page by page (kPageTokens
//    keys) in absolute position order, over the keys that the query sees: m = max; if it rose, sums and
//    output are multiplied by exp(old m - m); sum[lane] += exp(score - m); output = fma(p, v, output) key
//    by key. In the end output * (1 / tree(sum)).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "base/result.h"
#include "base/tokens.h"
#include "kernels/format.h"

namespace penstock::kernels {

enum class Isa : uint8_t { kReference, kAvx2, kAvx512 };
const char* IsaName(Isa isa);
// Versions that this CPU runs, slowest first; always begins with kReference.
std::span<const Isa> SupportedIsas();
// The fastest of them that needs no instructions beyond `cap`. Errors: kInvalid: not "reference", "avx2" or
// "avx512".
Result<Isa> BestIsa(std::string_view cap);

// kernels/matrix.h: a weight matrix repacked for the kernels, and the rows that it multiplies.
class Matrix;
class Activations;

enum class KvType : uint8_t { kF16, kF32 };
constexpr int64_t KvBytes(KvType type) {
  return type == KvType::kF16 ? 2 : 4;
}

// Causal attention of `rows` consecutive queries of one sequence against one KV head.
// Query r is at absolute position first_pos + r and sees keys 0 … first_pos + r.
// k_pages[i] is page i's keys for this layer and head, TRANSPOSED: [head_dim][kPageTokens].
// v_pages[i] is its values: [kPageTokens][head_dim]. Both of type `kv`.
// q: [rows][q_stride], this KV head's `group` query heads are adjacent from q[0] on; the same for out.
struct Attention {
  const float* q = nullptr;
  int64_t q_stride = 0;  // in floats
  float* out = nullptr;
  int64_t out_stride = 0;
  int32_t rows = 0, first_pos = 0, group = 0, head_dim = 0;
  float scale = 0;  // multiplies q·k
  const std::byte* const* k_pages = nullptr;
  const std::byte* const* v_pages = nullptr;
  KvType kv = KvType::kF16;
};

// One instruction set's functions. None allocates, none throws; all are safe from any thread on disjoint
// outputs. Row pointers need no alignment. No aliasing unless stated.
struct Kernels {
  Isa isa;

  // Fills the int8 form of rows [begin, end) of `a` from the floats that a.Reset was given. Not needed
  // before matrices whose integer() is false.
  void (*quantize_rows)(int32_t begin, int32_t end, Activations& a);

  // out[r * out_stride + n] for r in [0, a.rows()), n in [n_begin, n_end).
  // REQUIRES: n_begin % 16 == 0; n_end % 16 == 0 or n_end == w.n(); a.k() == w.k().
  void (*matmul)(const Matrix& w, int32_t n_begin, int32_t n_end, const Activations& a, float* out,
                 int64_t out_stride);

  // out[i] = x[i] / sqrt(mean(x²) + eps) * weight[i]. x may be out.
  void (*rms_norm)(const float* x, const float* weight, int32_t n, float eps, float* out);
  // x[i] += y[i].
  void (*add)(float* x, const float* y, int32_t n);
  // out[i] = silu(gate[i]) * up[i]. gate may be out.
  void (*silu_mul)(const float* gate, const float* up, int32_t n, float* out);
  // x[i] = fma(scale, y[i], x[i]): joins the experts of a mixture.
  void (*add_scaled)(float* x, const float* y, float scale, int32_t n);
  // Rotates one head in place. `neox`: pairs (i, i + d/2), else (2i, 2i + 1). cos/sin: [d/2].
  void (*rope)(float* head, const float* cos, const float* sin, int32_t rotary_dim, bool neox);
  // p = softmax(p), in place, 16 virtual lanes.
  void (*softmax)(float* p, int32_t n);
  // Writes one token's key/value head into its page: slot = position % kPageTokens.
  void (*store_kv)(const float* k, const float* v, int32_t head_dim, int32_t slot, KvType type,
                   std::byte* k_page, std::byte* v_page);
  // scratch: AttentionScratchFloats(args) floats, private to the caller's thread.
  void (*attention)(const Attention& args, float* scratch);
};
int64_t AttentionScratchFloats(const Attention& args);

// REQUIRES: isa is in SupportedIsas().
const Kernels& KernelsFor(Isa isa);

}  // namespace penstock::kernels
