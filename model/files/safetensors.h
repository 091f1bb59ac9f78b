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

// The tensors of one file, checked: inside the file, disjoint, sizes equal to shape × dtype, of a supported
// dtype (F32, F16, BF16). They are views into `bytes`. Errors name `origin`, the tensor and its defect.
Result<std::vector<Tensor>> ParseSafetensors(std::span<const std::byte> bytes, std::string_view origin);

// The names of a folder's shard files, each once: those of the index, or model.safetensors alone.
// Errors: no such file; an index that names a file outside the folder.
Result<std::vector<std::string>> SafetensorsShards(const std::string& folder);

}  // namespace penstock
