// The names that ggml gives to the formats of tensors and files. Our kernels support some of them
// (kernels/format.h); the others are known so that errors can name them, and so that libllama can serve them.
#pragma once

#include <cstdint>
#include <string_view>

namespace penstock {

struct GgmlType {
  uint32_t number;                      // as in the file
  std::string_view name;                // "IQ4_XS"
  int32_t block_elements, block_bytes;  // 0: ggml no longer reads it
};

// nullptr: a number that ggml 0.5 does not define.
const GgmlType* FindGgmlType(uint32_t number);

// The name of general.file_type: "Q4_K_M"; empty: unknown.
std::string_view FileTypeName(int64_t type);

}  // namespace penstock
