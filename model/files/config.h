// ModelConfig: a model's hyperparameters as plain data, from a GGUF's metadata or a config.json.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "model/files/gguf.h"
#include "model/files/json.h"

namespace penstock {

// How rotary frequencies are scaled beyond the context that the model was trained with.
// Names and defaults are those of transformers' modeling_rope_utils.
struct RopeScaling {
  enum class Kind : uint8_t {
    kNone,
    kLinear,  // positions divided by `factor` (Chen et al. 2023)
    kYarn,    // Peng et al. 2023
    kLlama3,  // Llama 3.1's: long wavelengths divided, short ones kept, a linear ramp between them
  };
  Kind kind = Kind::kNone;
  double factor = 1;
  int64_t original_context = 0;
  double attention_factor = 0;  // multiplies cos and sin; 0: of yarn 0.1 · ln(factor) + 1, of the others 1
  // yarn
  double beta_fast = 32, beta_slow = 1;
  bool truncate = true;
  // llama3
  double low_freq_factor = 1, high_freq_factor = 4;
};

struct ModelConfig {
  std::string architecture;  // "llama", "mistral", "qwen2", "qwen3", "qwen3moe"
  int32_t layers = 0, hidden = 0, heads = 0, kv_heads = 0, head_dim = 0;
  int32_t feed_forward = 0;  // of a dense layer
  int32_t experts = 0, experts_used = 0, expert_feed_forward = 0;
  bool normalise_experts = true;  // the weights of the chosen experts sum to one
  int32_t context = 0;
  float norm_eps = 0;
  double rope_base = 0;
  int32_t rotary_dim = 0;
  // Which pairs a rotation turns: (i, i + d/2) if true, otherwise (2i, 2i + 1). A llama GGUF has its q and k
  // rows permuted for the latter; the same model as a Hugging Face folder does not.
  bool rope_neox = true;
  RopeScaling scaling;
  // Whether the layers have biases, which a config.json says; in a GGUF the tensors themselves do.
  enum class Bias : uint8_t { kIfStored, kNone, kRequired };
  Bias qkv_bias = Bias::kIfStored, output_bias = Bias::kIfStored, feed_forward_bias = Bias::kIfStored;
  int32_t vocabulary = 0;  // rows of the embedding; 0: the tensor decides
  // Whether the output matrix is the embedding. Final when ModelFiles has opened the files: true if they have
  // no output matrix.
  bool tied = false;
};

// Errors name the file and the key: kUnsupported for an architecture or a feature that is not supported
// (and list what is), kCorrupt for a value that is missing or invalid.
Result<ModelConfig> ConfigFromGguf(const Gguf& gguf);
Result<ModelConfig> ConfigFromJson(const JsonObject& config);

}  // namespace penstock
