// Matrix and Activations: the two operands of a matmul, in the forms that kernels read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/result.h"
#include "chip/threads.h"
#include "kernels/format.h"
#include "kernels/layout.h"
#include "kernels/memory.h"

namespace penstock::kernels {

// A weight matrix w [n, k] repacked into tiles (kernels/layout.h): y[n] = sum_k w[n,k] * x[k].
// Resident bytes are close to the file's: 3-bit codes stay 3 bits.
// Threads: immutable after Pack.
// Owns:    its memory; the source may be unmapped after Pack.
class Matrix {
 public:
  // Repacks n rows of k weights, row after row of `format`'s blocks (any alignment). `pool`: share the work
  // among its workers; nullptr: on this thread.
  // Errors: kInvalid if n or k is not positive, k is not a multiple of the format's block, or `blocks` is not
  // exactly n rows; kOverloaded if there is no memory.
  static Result<Matrix> Pack(Format format, std::span<const std::byte> blocks, int32_t n, int32_t k,
                             chip::ThreadPool* pool = nullptr);

  Matrix() = default;  // 0 × 0; only to be assigned to

  int32_t n() const { return view_.n; }
  int32_t k() const { return view_.k; }
  Format format() const { return view_.format; }
  // Whether it multiplies the int8 form of the activations; otherwise it multiplies their floats.
  bool integer() const { return view_.layout.bits != 0; }
  int64_t resident_bytes() const { return bytes_; }
  [[gnu::always_inline]] const MatrixView& view() const { return view_; }

  // Row `row` as floats, the same bits as Dequantize of the source. out: [k].
  void DequantizeRow(int32_t row, float* out) const;

 private:
  Buffer memory_;
  int64_t bytes_ = 0;
  MatrixView view_;
};

// One row's activations for kSuper consecutive k, as integer kernels read them; zeros past the row's end.
struct alignas(32) ActivationBlock {
  int8_t q[kSuper];
  float scale[kSuper / kGroup];        // x ≈ scale * q, per group of 32
  float min_sum[kSuper / kGroup];      // scale * float(sum of the group's q): multiplied by a minimum
  int32_t minus_sum[kSuper / kGroup];  // -(sum of the group's q): multiplied by a zero point
  int32_t minus_sum16[kSuper / 16];    // the same by 16, for layouts with groups of 16
};

// The rows that a matmul multiplies: a view of floats and, for integer layouts, their int8 form. Filled once
// by Kernels::quantize_rows and shared by all matrices that multiply the same rows. Reused from step to
// step: its memory only grows.
// Threads: Reset on one; then quantize_rows on disjoint rows from any; then read-only.
class Activations {
 public:
  // Rows of k floats, row r at x + r * stride. The caller owns x and keeps it unchanged until the last
  // matmul.
  void Reset(const float* x, int64_t stride, int32_t rows, int32_t k);

  [[gnu::always_inline]] int32_t rows() const { return rows_; }
  [[gnu::always_inline]] int32_t k() const { return k_; }
  [[gnu::always_inline]] const float* x(int32_t row) const { return x_ + row * stride_; }
  [[gnu::always_inline]] int64_t stride() const { return stride_; }

  // Block `b` (k = 256 b …) of row `row`; the next row's block follows it.
  [[gnu::always_inline]] ActivationBlock* block(int32_t b, int32_t row) {
    return reinterpret_cast<ActivationBlock*>(memory_.get()) + (int64_t{b} * rows_ + row);
  }
  [[gnu::always_inline]] const ActivationBlock* block(int32_t b, int32_t row) const {
    return reinterpret_cast<const ActivationBlock*>(memory_.get()) + (int64_t{b} * rows_ + row);
  }
  [[gnu::always_inline]] int32_t blocks() const { return (k_ + kSuper - 1) / kSuper; }

 private:
  const float* x_ = nullptr;
  int64_t stride_ = 0;
  int32_t rows_ = 0, k_ = 0;
  Buffer memory_;  // ActivationBlock [blocks][rows]
  int64_t capacity_ = 0;
};

}  // namespace penstock::kernels
