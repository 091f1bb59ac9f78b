// The versions of the kernels in this build, each in its own file, and what they share.
#pragma once

#include "kernels/kernels.h"

namespace penstock::kernels {

const Kernels& ReferenceKernels();
// REQUIRES (these two): the CPU has the instructions.
const Kernels& Avx2Kernels();
const Kernels& Avx512Kernels();

// Attention works on blocks of this many queries (rows × group), so that a page of keys and values is
// converted to f32 once for all of them.
constexpr int32_t kQueryBlock = 32;

// The parts of one thread's scratch for attention, in floats; widths are head_dim rounded up to 16.
struct AttentionScratch {
  explicit constexpr AttentionScratch(int32_t head_dim) : width((head_dim + 15) / 16 * 16) {}
  int64_t width;
  constexpr int64_t KPage() const { return 0; }                                   // [head_dim][16]
  constexpr int64_t VPage() const { return KPage() + width * kPageTokens; }       // [16][width]
  constexpr int64_t Output() const { return VPage() + width * kPageTokens; }      // [query][width]
  constexpr int64_t Sum() const { return Output() + width * kQueryBlock; }        // [query][16]
  constexpr int64_t Scores() const { return Sum() + kPageTokens * kQueryBlock; }  // [query][16]
  constexpr int64_t Max() const { return Scores() + kPageTokens * kQueryBlock; }  // [query]
  constexpr int64_t Floats() const { return Max() + kQueryBlock; }
};

}  // namespace penstock::kernels
