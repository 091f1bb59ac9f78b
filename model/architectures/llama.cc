// Llama 2 and 3 (Touvron et al. 2023; Llama team 2024), SmolLM2, DeepSeek-R1-Distill-Llama: pre-norm,
// rotary grouped-query attention, SwiGLU.
#include "model/files/architecture.h"
#include "model/operations/forward.h"
#include "model/operations/layer.h"

namespace penstock {
namespace {

Status Load(WeightLoader& loader, int32_t index, Layer& layer) {
  PENSTOCK_TRY(loader.Attention(index, WeightLoader::QkvBias::kOptional, layer));
  return loader.DenseFeedForward(index, layer);
}

void Run(Forward& f, const Layer& layer) {
  f.Normalise(layer.attention_norm);
  f.ProjectQkv(layer);
  f.RotateAndStore();
  f.Attend();
  f.AddProjected(layer.output);
  f.Normalise(layer.feed_forward_norm);
  f.AddFeedForward(layer.dense);
}

}  // namespace

const Architecture kLlama = {.name = "llama",
                             .hugging_face = "llama",
                             .gguf_interleaved = true,
                             .mixture = false,
                             .load = Load,
                             .run = Run};

}  // namespace penstock
