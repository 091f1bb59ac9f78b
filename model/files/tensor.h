// Tensor: where a model file stores one weight, and in which format. A view: owns nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "kernels/format.h"

namespace penstock {

// `rows` × `cols`, row-major, each row a whole number of blocks of `format`. A vector is one row; a stack
// of matrices (the experts of a mixture) is `count` of them, one after the other.
struct Tensor {
  std::string name;
  kernels::Format format = kernels::Format::kF32;
  int64_t cols = 0, rows = 1, count = 1;
  std::span<const std::byte> data;

  int64_t elements() const { return cols * rows * count; }
  int64_t row_bytes() const {
    const auto& info = kernels::InfoOf(format);
    return cols / info.block_elements * info.block_bytes;
  }
  const std::byte* row(int64_t r) const { return data.data() + r * row_bytes(); }
  // The i-th matrix of the stack.
  Tensor At(int64_t i) const {
    const auto bytes = static_cast<size_t>(rows * row_bytes());
    return {name, format, cols, rows, 1, data.subspan(static_cast<size_t>(i) * bytes, bytes)};
  }
};

}  // namespace penstock
