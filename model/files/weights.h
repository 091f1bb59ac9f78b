// ModelFiles: an opened model, from a GGUF file or a Hugging Face folder: its configuration, and its tensors
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
  // `path`: a .gguf file (of a split model any part), or a folder with config.json and safetensors. Does not
  // read weights.
  static Result<ModelFiles> Open(const std::string& path);

  const std::string& path() const { return path_; }
  const ModelConfig& config() const { return config_; }
  int64_t bytes() const;  // of all weight files

  // Returns a tensor, which must have this shape, once. Errors: missing, another shape, already taken.
  Result<Tensor> Take(const std::string& name, int64_t rows, int64_t cols, int64_t count = 1);
  bool Has(std::string_view name) const { return tensors_.contains(name); }
  // nullopt: the file does not have it.
  Result<std::optional<Tensor>> TakeIfThere(const std::string& name, int64_t rows, int64_t cols);
  // The embedding decides the vocabulary's size. [vocabulary, hidden].
  Result<Tensor> TakeEmbedding();
  // Fails if a tensor was not taken: then the model needs a computation that we do not support.
  Status CheckAllTaken() const;

  // The tensor's file pages may leave memory.
  void Release(const Tensor& tensor) const;

 private:
  ModelFiles() = default;
  static Result<ModelFiles> OpenGguf(const std::string& path);
  static Result<ModelFiles> OpenFolder(const std::string& path);
  Status AddShard(const std::string& file);
  Status TieOutput();
  Status CheckBiases() const;

  std::string path_;
  ModelConfig config_;
  std::vector<MappedFile> files_;
  std::map<std::string, Tensor, std::less<>> tensors_;  // not yet taken
  std::map<std::string, std::string, std::less<>>
      unread_;  // dtypes of a folder's tensors that are no weights
};

// GGUF's name of a Hugging Face tensor; empty: it is not a weight and is ignored.
// Unknown names are returned unchanged.
std::string CanonicalName(std::string_view hugging_face_name);

}  // namespace penstock
