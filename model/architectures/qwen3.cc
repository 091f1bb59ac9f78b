// Qwen3 (Yang et al. 2025), the dense models: no biases; each query and key head is normalised before it
// is rotated.
#include "model/files/architecture.h"
#include "model/operations/forward.h"
#include "model/operations/layer.h"

namespace penstock {
namespace {

Status Load(WeightLoader& loader, int32_t index, Layer& layer) {
  PENSTOCK_TRY(loader.Attention(index, WeightLoader::QkvBias::kOptional, layer));
  PENSTOCK_TRY(loader.HeadNorms(index, layer));
  return loader.DenseFeedForward(index, layer);
}

void Run(Forward& f, const Layer& layer) {
  f.Normalise(layer.attention_norm);
  f.ProjectQkv(layer);
  f.NormaliseHeads(layer.query_norm, layer.key_norm);
  f.RotateAndStore();
  f.Attend();
  f.AddProjected(layer.output);
  f.Normalise(layer.feed_forward_norm);
  f.AddFeedForward(layer.dense);
}

}  // namespace

const Architecture kQwen3 = {.name = "qwen3",
                             .hugging_face = "qwen3",
                             .gguf_interleaved = false,
                             .mixture = false,
                             .load = Load,
                             .run = Run};

}  // namespace penstock
