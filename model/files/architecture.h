// Architecture: the weights of a model family's layer and how it computes. One file for each family; shared
// parts are in model/operations/layer.h (weights) and model/operations/forward.h (operations).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/result.h"

namespace penstock {

class Forward;
class WeightLoader;
struct Layer;

struct Architecture {
  std::string_view name;          // GGUF's general.architecture
  std::string_view hugging_face;  // config.json's model_type
  bool gguf_interleaved = false;  // GGUF converters permute q and k so that neighbours are rotated as pairs
  bool in_gguf = true;            // false: GGUF files of this family have another's name
  bool mixture = false;           // its feed-forward is a mixture of experts
  Status (*load)(WeightLoader& loader, int32_t index, Layer& layer) = nullptr;
  void (*run)(Forward& forward, const Layer& layer) = nullptr;
};

extern const Architecture kLlama, kMistral, kQwen2, kQwen3, kQwen3Moe;

// By either name. Errors: kUnsupported: names the architecture, the file (`origin`) and what is supported.
Result<const Architecture*> FindArchitecture(std::string_view name, std::string_view origin);

}  // namespace penstock
