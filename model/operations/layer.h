// A transformer layer's weights, as the architectures bind them from a model file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "chip/threads.h"
#include "kernels/matrix.h"
#include "model/files/config.h"
#include "model/files/weights.h"

namespace penstock {

// y = W x (+ bias).
struct Linear {
  kernels::Matrix weight;
  std::vector<float> bias;  // empty: none
};

// down(silu(gate(x)) · up(x)) (SwiGLU, Shazeer 2020).
struct FeedForward {
  Linear gate, up, down;
};

struct Layer {
  std::vector<float> attention_norm, feed_forward_norm;
  std::vector<float> query_norm, key_norm;  // [head_dim]; empty where the architecture has none
  Linear query, key, value, output;
  FeedForward dense;                 // empty in a mixture
  Linear router;                     // [experts, hidden]
  std::vector<FeedForward> experts;  // empty in a dense layer
};

// How weights are kept in memory.
enum class WeightMode : uint8_t {
  kPacked,       // in their own format, repacked for the kernels
  kDequantised,  // as f32: the reference for measuring quantised arithmetic
};

// Takes tensors from the file and packs them. Errors name the tensor and its defect.
class WeightLoader {
 public:
  WeightLoader(ModelFiles& files, chip::ThreadPool& pool, WeightMode mode)
      : files_(files), pool_(pool), mode_(mode) {}

  const ModelConfig& config() const { return files_.config(); }
  int64_t resident_bytes() const { return resident_bytes_; }

  Result<std::vector<float>> Vector(const std::string& name, int64_t size);
  Result<Linear> Project(const std::string& stem, int64_t rows,
                         int64_t cols);  // stem.weight, and stem.bias if it exists
  Result<kernels::Matrix> Pack(const Tensor& tensor);

  // Parts that several architectures share; `layer` counts from 0.
  enum class QkvBias : uint8_t { kOptional, kRequired };
  Status Attention(int32_t layer, QkvBias bias, Layer& out);
  Status HeadNorms(int32_t layer, Layer& out);
  Status DenseFeedForward(int32_t layer, Layer& out);
  Status Experts(int32_t layer, Layer& out);

 private:
  Result<std::vector<Linear>> ExpertStack(const std::string& stem, int64_t rows, int64_t cols);

  ModelFiles& files_;
  chip::ThreadPool& pool_;
  WeightMode mode_;
  int64_t resident_bytes_ = 0;
};

}  // namespace penstock
