// One decoded block of a quantised file format. Both the dequantised floats (format.cc) and the packed matrix
// (matrix.cc) are made from it, so that the two cannot disagree.
#pragma once

#include <cstdint>

#include "kernels/format.h"

namespace penstock::kernels {

// weight[i] = scale(group of i) * WeightOf(layout, code[i]) - min(group of i), groups as in LayoutOf(format).
struct BlockCodes {
  uint8_t code[256];          // the format's block_elements first ones
  int8_t scale[16], min[16];  // per group; only where the layout is `super`
  uint16_t d = 0, m = 0;      // f16 bits of the block's scale and minimum, or of what multiplies the above
};

// REQUIRES: `format` is quantised; `block` holds its block_bytes.
void DecodeBlock(Format format, const void* block, BlockCodes& out);

}  // namespace penstock::kernels
