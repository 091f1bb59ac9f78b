// ModelShape: what a model's memory and speed depend on, besides the size of its file. It is in a GGUF's
// first kilobytes, so it can be read before the file is downloaded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace penstock {

struct ModelShape {
  int32_t layers = 0, kv_heads = 0, head_dim = 0;
  int64_t context = 0;
  int64_t weights = 0;  // that one token multiplies; 0: not known
  // In a mixture of experts: the share of the weights in experts, and the share of those that one token
  // reads.
  double expert_share = 0, expert_used = 1;
  uint64_t unread = 0;  // bytes of the file that no step reads: an embedding separate from the output matrix

  // Keys and values of one token, as the engine keeps them (f16).
  int64_t KvBytesPerToken() const { return int64_t{2} * layers * kv_heads * head_dim * 2; }
};

// How much of a file's beginning contains its shape: converters write everything before the vocabulary.
constexpr size_t kShapeBytes = 64 << 10;

// From a GGUF's first bytes. Errors: not a GGUF, an unsupported architecture, or the keys are not in these
// bytes.
Result<ModelShape> ShapeOfBeginning(std::span<const std::byte> bytes, std::string_view origin);

// From a complete model on this machine: a GGUF file or a Hugging Face folder.
Result<ModelShape> ShapeOfModel(const std::string& path);

}  // namespace penstock
