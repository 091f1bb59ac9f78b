// Qwen2 and Qwen2.5 (Yang et al. 2024), DeepSeek-R1-Distill-Qwen: as llama, with biases on q, k and v.
#include "model/files/architecture.h"
#include "model/operations/forward.h"
#include "model/operations/layer.h"

namespace penstock {
namespace {

Status Load(WeightLoader& loader, int32_t index, Layer& layer) {
  PENSTOCK_TRY(loader.Attention(index, WeightLoader::QkvBias::kRequired, layer));
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

const Architecture kQwen2 = {.name = "qwen2",
                             .hugging_face = "qwen2",
                             .gguf_interleaved = false,
                             .mixture = false,
                             .load = Load,
                             .run = Run};

}  // namespace penstock
