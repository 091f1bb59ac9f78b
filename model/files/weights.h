// ModelFiles: an opened model, GGUF file or Hugging Face folder alike: its configuration, and its tensors
// under GGUF's names ("blk.0.attn_q.weight").
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/files/config.h"
#include "model/files/file.h"
#include "model/files/tensor.h"

namespace penstock {

class ModelFiles {
 public:
  // `path`: a .gguf file, or a folder with config.json and safetensors. Reads no weight.
  static Result<ModelFiles> Open(const std::string& path);

  const std::string& path() const { return path_; }
  const ModelConfig& config() const { return config_; }
  int64_t bytes() const;  // of all weight files

  // Hands a tensor out; it must be of this shape. Errors: missing, another shape, taken before.
  Result<Tensor> Take(const std::string& name, int64_t rows, int64_t cols, int64_t count = 1);
  bool Has(std::string_view name) const { return tensors_.contains(name); }
  // nullopt: the file does not have it.
  Result<std::optional<Tensor>> TakeIfThere(const std::string& name, int64_t rows, int64_t cols);
  // The embedding decides the vocabulary's size. [vocabulary, hidden].
  Result<Tensor> TakeEmbedding();
  // What was not taken means something that this architecture, as served, does not compute.
  Status CheckAllTaken() const;

  // The tensor's file pages need not stay in memory.
  void Release(const Tensor& tensor) const;

 private:
  ModelFiles() = default;
  static Result<ModelFiles> OpenGguf(const std::string& path);
  static Result<ModelFiles> OpenFolder(const std::string& path);
  Status AddShard(const std::string& file);

  std::string path_;
  ModelConfig config_;
  std::vector<MappedFile> files_;
  std::map<std::string, Tensor, std::less<>> tensors_;  // not yet taken
};

// GGUF's name for a Hugging Face tensor; empty: carries no weight and is ignored.
// Unknown names come back as they are.
std::string CanonicalName(std::string_view hugging_face_name);

}  // namespace penstock
