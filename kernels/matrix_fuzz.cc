// Arbitrary bytes as the blocks of every format, including infinite and NaN scales: nothing may crash, and
// a packed matrix must dequantise to the same bits as its source.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/matrix.h"

namespace penstock::kernels {
namespace {

// A NaN may have another payload afterwards.
bool SameFloat(float a, float b) {
  return std::memcmp(&a, &b, sizeof(a)) == 0 || (a != a && b != b);
}

void PackAndMultiply(const FormatInfo& info, std::span<const std::byte> blocks, int32_t n, int32_t k) {
  const Result<Matrix> packed = Matrix::Pack(info.format, blocks, n, k);
  if (!packed) std::abort();
  std::vector<float> want(static_cast<size_t>(k)), got(static_cast<size_t>(k));
  const size_t row_bytes = blocks.size() / static_cast<size_t>(n);
  for (int32_t row = 0; row < n; ++row) {
    Dequantize(info.format, blocks.data() + row_bytes * static_cast<size_t>(row), k, want.data());
    packed->DequantizeRow(row, got.data());
    for (int32_t i = 0; i < k; ++i) {
      if (!SameFloat(want[static_cast<size_t>(i)], got[static_cast<size_t>(i)])) std::abort();
    }
  }
  // Two rows of activations: the weights themselves, including their unusual values.
  want.insert(want.end(), got.begin(), got.end());
  std::vector<float> out(static_cast<size_t>(n) * 2);
  for (const Isa isa : SupportedIsas()) {
    Activations a;
    a.Reset(want.data(), k, 2, k);
    KernelsFor(isa).quantize_rows(0, 2, a);
    KernelsFor(isa).matmul(*packed, 0, n, a, out.data(), n);
  }
}

}  // namespace
}  // namespace penstock::kernels

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock::kernels;
  if (size < 2) return 0;
  const FormatInfo* info = FindFormat(data[0]);
  const int32_t n = data[1] % 20 + 1;
  const auto bytes = std::as_bytes(std::span(data + 2, size - 2));
  if (info == nullptr) return 0;
  const size_t blocks = bytes.size() / static_cast<size_t>(info->block_bytes) / static_cast<size_t>(n);
  if (blocks == 0) {
    if (Matrix::Pack(info->format, bytes, n, info->block_elements)) std::abort();
    return 0;
  }
  const auto k = static_cast<int32_t>(blocks) * info->block_elements;
  PackAndMultiply(*info, bytes.first(blocks * static_cast<size_t>(n * info->block_bytes)), n, k);
  return 0;
}
