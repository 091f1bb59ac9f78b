#include "kernels/versions.h"
namespace penstock::kernels {
const Kernels& Avx2Kernels() {
  return ReferenceKernels();
}
}  // namespace penstock::kernels
