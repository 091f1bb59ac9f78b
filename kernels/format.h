// The weight formats of model files and their exact meaning: block sizes and dequantisation.
// Truth: dequantize() of the `gguf` Python package, bit for bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace penstock::kernels {

// Numbers are GGUF's ggml_type.
enum class Format : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kIQ4_NL = 20,
  kBF16 = 30,
};

struct FormatInfo {
  Format format;
  std::string_view name;  // as GGUF tools print it: "Q4_K"
  int32_t block_elements;
  int32_t block_bytes;
};

std::span<const FormatInfo> Formats();
// nullptr: not supported. `ggml_type` is the number in the file.
const FormatInfo* FindFormat(uint32_t ggml_type);
const FormatInfo& InfoOf(Format format);

// out[0, count) from consecutive blocks. REQUIRES: count % block_elements == 0; `blocks` holds them all;
// any alignment.
void Dequantize(Format format, const void* blocks, int64_t count, float* out);

}  // namespace penstock::kernels
