// GGUF: llama.cpp's model file format, versions 2 and 3 (ggml docs/gguf.md).
//
//   "GGUF" u32 version  u64 tensors  u64 keys
//   keys     { string key, u32 type, value }
//   tensors  { string name, u32 dims, u64 dim[dims] (fastest first), u32 ggml_type, u64 offset }
//   padding to general.alignment, then the tensors' data
//
// Everything is little-endian; a string is a u64 length and bytes. For any bytes, Parse returns either a
// checked structure or an Error that names the key or tensor and its defect.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/files/tensor.h"

namespace penstock {

// One metadata value; views into the file.
struct GgufValue {
  enum class Type : uint32_t {
    kU8,
    kI8,
    kU16,
    kI16,
    kU32,
    kI32,
    kF32,
    kBool,
    kString,
    kArray,
    kU64,
    kI64,
    kF64
  };
  Type type = Type::kU8;  // of the value, or of the elements if `is_array`
  bool is_array = false;
  uint64_t count = 1;              // elements
  std::span<const std::byte> raw;  // the encoded elements
};

class Gguf {
 public:
  // The result's views point into `bytes`, which must outlive it. `origin` (a path) begins each message.
  static Result<Gguf> Parse(std::span<const std::byte> bytes, std::string_view origin);

  // Parses a file's first bytes: the keys that are complete in them, and no tensors. For inspecting a file
  // before it is downloaded. Errors: not a GGUF file; damage before the end of the bytes.
  static Result<Gguf> ParseBeginning(std::span<const std::byte> bytes, std::string_view origin);
  // The array in which those first bytes ended, and its count; empty: none.
  struct Cut {
    std::string key{};
    uint64_t count = 0;
  };
  const Cut& cut() const { return cut_; }

  const std::string& origin() const { return origin_; }
  bool Has(std::string_view key) const { return Find(key) != nullptr; }
  const GgufValue* Find(std::string_view key) const;

  // nullopt: no such key. Errors (kCorrupt, naming the key): another type, or not in the given range.
  Result<std::optional<int64_t>> Int(std::string_view key, int64_t min, int64_t max) const;
  Result<std::optional<double>> Real(std::string_view key) const;  // finite
  Result<std::optional<bool>> Bool(std::string_view key) const;
  Result<std::optional<std::string_view>> String(std::string_view key) const;
  Result<std::vector<std::string_view>> Strings(std::string_view key) const;  // empty: no such key
  Result<std::vector<int64_t>> Ints(std::string_view key) const;
  Result<std::vector<float>> Floats(std::string_view key) const;

  // One number, or an array with one number for each of `layers`, which must be equal: our layers are alike.
  // Errors: as Int; kUnsupported: the numbers of the layers differ.
  Result<std::optional<int64_t>> IntOfLayers(std::string_view key, int64_t layers, int64_t min,
                                             int64_t max) const;
  // The value as text ("true", "4", "linear"), of an array its elements; for messages and comparisons.
  std::vector<std::string> Texts(const GgufValue& value) const;
  const std::map<std::string, GgufValue, std::less<>>& values() const { return values_; }

  // In file order; checked: inside the file, aligned, disjoint, of a format that our kernels support, names
  // unique.
  const std::vector<Tensor>& tensors() const { return tensors_; }
  // Tensors in ggml's other formats, equally checked. libllama can serve them.
  struct Foreign {
    std::string name;
    std::string_view format;  // "IQ4_XS"
    int64_t rows = 1, elements = 0;
    uint64_t bytes = 0;
  };
  const std::vector<Foreign>& foreign() const { return foreign_; }
  // Errors: kUnsupported if any tensor is foreign: names it, its format and the supported ones.
  Status CheckFormats() const;

 private:
  friend class GgufParser;
  std::string origin_;
  std::map<std::string, GgufValue, std::less<>> values_;
  std::vector<Tensor> tensors_;
  std::vector<Foreign> foreign_;
  Cut cut_;
};

}  // namespace penstock
