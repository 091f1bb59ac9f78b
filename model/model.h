// Model: a loaded model's weights and its forward pass.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/result.h"
#include "chip/threads.h"
#include "kernels/kernels.h"
#include "model/files/architecture.h"
#include "model/files/config.h"
#include "model/files/weights.h"
#include "model/memory/kv.h"
#include "model/operations/forward.h"
#include "model/operations/layer.h"
#include "model/operations/rope.h"

namespace penstock {

// Threads: one at a time; work is shared among the pool's.
class Model {
 public:
  // Packs every weight, on `packing`, which is not used afterwards. Runs on `pool`. Both `pool` and `kernels`
  // must outlive the model.
  // Errors name the file, and the tensor or key that is wrong.
  static Result<std::unique_ptr<Model>> Load(ModelFiles files, WeightMode mode,
                                             const kernels::Kernels& kernels, chip::ThreadPool& pool,
                                             chip::ThreadPool& packing);
  static Result<std::unique_ptr<Model>> Load(ModelFiles files, WeightMode mode,
                                             const kernels::Kernels& kernels, chip::ThreadPool& pool) {
    return Load(std::move(files), mode, kernels, pool, pool);
  }

  const ModelConfig& config() const { return files_.config(); }
  int32_t vocabulary() const { return static_cast<int32_t>(embedding_.rows); }
  int64_t weight_bytes() const { return weight_bytes_; }  // resident

  // Computes the chunks' tokens: writes their keys and values to `kv`, and returns the requested logits,
  // [Σ chunk.logits, vocabulary()], in the chunks' order. The span is valid until the next call.
  // REQUIRES: every token is in the vocabulary, every page in `kv`; no chunk reads a page that another chunk
  // writes.
  std::span<float> Run(std::span<const Chunk> chunks, const KvPages& kv);

 private:
  Model(ModelFiles files, const Architecture& architecture, const kernels::Kernels& kernels,
        chip::ThreadPool& pool)
      : files_(std::move(files)), architecture_(architecture), kernels_(kernels), pool_(pool) {}

  Status LoadWeights(WeightMode mode, chip::ThreadPool& packing);
  Status LoadRope();
  void Embed(Token token, float* out) const;

  ModelFiles files_;
  const Architecture& architecture_;
  const kernels::Kernels& kernels_;
  chip::ThreadPool& pool_;
  Tensor embedding_;  // rows are read from the file, unless output_ is the same matrix
  std::unique_ptr<Rope> rope_;
  std::vector<Layer> layers_;
  std::vector<float> output_norm_;
  Linear output_;
  bool integer_ = false;  // some weights multiply int8 activations
  int64_t weight_bytes_ = 0;

  ForwardBuffers buffers_;
  std::vector<float> logits_;
};

}  // namespace penstock
