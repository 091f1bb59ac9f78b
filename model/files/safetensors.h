// Safetensors: Hugging Face's weight files (huggingface/safetensors, README "Format").
//
//   u64 size of the header, little-endian
//   header: JSON { name: { "dtype", "shape" (slowest first), "data_offsets": [begin, end) } }
//   the tensors' data; offsets count from here
//
// A folder holds model.safetensors, or shards that model.safetensors.index.json names.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/files/file.h"
#include "model/files/tensor.h"

namespace penstock {

// A tensor that no weight of ours can be: of another dtype, without dimensions, or empty.
struct UnreadTensor {
  std::string name, dtype;
};

struct Safetensors {
  std::vector<Tensor> tensors;  // F32, F16, BF16; views into the file's bytes
  std::vector<UnreadTensor> unread;
};

// The tensors of one file, checked: inside the file, disjoint, sizes equal to shape × dtype.
// Errors name `origin`, the tensor and its defect.
Result<Safetensors> ParseSafetensors(std::span<const std::byte> bytes, std::string_view origin);

// The names of a folder's shard files, each once: model.safetensors if there is one (then an index is stale,
// and transformers does not read it either), otherwise those of the index. Errors: no such file; an index
// that names a file outside the folder.
Result<std::vector<std::string>> SafetensorsShards(const std::string& folder);

}  // namespace penstock
