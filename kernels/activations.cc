#include <cstdio>
#include <cstdlib>
#include <utility>

#include "kernels/matrix.h"

namespace penstock::kernels {

void Activations::Reset(const float* x, int64_t stride, int32_t rows, int32_t k) {
  x_ = x;
  stride_ = stride;
  rows_ = rows;
  k_ = k;
  const int64_t need = int64_t{blocks()} * rows * static_cast<int64_t>(sizeof(ActivationBlock));
  if (need <= capacity_) return;
  memory_.reset();
  Result<Buffer> memory = AllocateBuffer(need);
  if (!memory) {
    // Ends the process, as operator new would: the step's budget limits the rows, so no memory at all is
    // left.
    std::fprintf(stderr, "%s\n", memory.error().message.c_str());
    std::abort();
  }
  memory_ = *std::move(memory);
  capacity_ = need;
}

}  // namespace penstock::kernels
