// Mistral 7B and its successors of the same shape (Jiang et al. 2023): as llama, without biases. Sliding
// windows are honoured by ending the context at the window (model/files/config_json.cc). In GGUF files these
// models have the architecture "llama".
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

const Architecture kMistral = {.name = "mistral",
                               .hugging_face = "mistral",
                               .gguf_interleaved = false,
                               .in_gguf = false,
                               .mixture = false,
                               .load = Load,
                               .run = Run};

}  // namespace penstock
