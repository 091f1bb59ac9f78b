// Aligned memory for weights and activations.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/result.h"

namespace penstock::kernels {

struct BufferDeleter {
  size_t mapped = 0;  // bytes to unmap; 0: from aligned_alloc
  void operator()(std::byte* memory) const;
};
using Buffer = std::unique_ptr<std::byte[], BufferDeleter>;

// `bytes` bytes aligned to 64, with undefined content. Large buffers are mapped separately, in huge pages if
// the operating system allows, and are returned to the system when freed.
// Errors: kOverloaded if there is not enough memory.
Result<Buffer> AllocateBuffer(int64_t bytes);

}  // namespace penstock::kernels
