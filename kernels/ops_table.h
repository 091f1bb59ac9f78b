// A version's table of functions, from the ops_*.h files. Included by avx2.cc and avx512.cc after their own
// constants, Lookup16 and DotGroup.
#pragma once

#include "kernels/kernels.h"
#include "kernels/ops_attention.h"
#include "kernels/ops_float.h"
#include "kernels/ops_integer.h"
#include "kernels/ops_quantize.h"
#include "kernels/ops_rows.h"

namespace penstock::kernels {
namespace {

void Matmul(const Matrix& matrix, int32_t n_begin, int32_t n_end, const Activations& a, float* out,
            int64_t out_stride) {
  const MatrixView& w = matrix.view();
  if (w.layout.bits != 0) {
    IntegerMatmul(w, n_begin, n_end, a, out, out_stride);
  } else {
    FloatMatmul(w, n_begin, n_end, a, out, out_stride);
  }
}

constexpr Kernels KernelTable(Isa isa) {
  return {
      .isa = isa,
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
}

}  // namespace
}  // namespace penstock::kernels
