// Qwen3's mixtures of experts (Yang et al. 2025): attention as in qwen3; a router chooses a few experts for
// each token.
#include "model/files/architecture.h"
#include "model/operations/forward.h"
#include "model/operations/layer.h"

namespace penstock {
namespace {

Status Load(WeightLoader& loader, int32_t index, Layer& layer) {
  PENSTOCK_TRY(loader.Attention(index, WeightLoader::QkvBias::kOptional, layer));
  PENSTOCK_TRY(loader.HeadNorms(index, layer));
  return loader.Experts(index, layer);
}

void Run(Forward& f, const Layer& layer) {
  f.Normalise(layer.attention_norm);
  f.ProjectQkv(layer);
  f.NormaliseHeads(layer.query_norm, layer.key_norm);
  f.RotateAndStore();
  f.Attend();
  f.AddProjected(layer.output);
  f.Normalise(layer.feed_forward_norm);
  f.AddExperts(layer);
}

}  // namespace

const Architecture kQwen3Moe = {.name = "qwen3moe",
                                .hugging_face = "qwen3_moe",
                                .gguf_interleaved = false,
                                .mixture = true,
                                .load = Load,
                                .run = Run};

}  // namespace penstock
