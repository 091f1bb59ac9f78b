#include "kernels/versions.h"
namespace penstock::kernels {
const Kernels& Avx512Kernels() {
  return ReferenceKernels();
}
}  // namespace penstock::kernels
