#include "app/machine/shape.h"

#include "model/files/config.h"
#include "model/files/gguf.h"
#include "model/files/weights.h"

namespace penstock {
namespace {

constexpr std::string_view kVocabulary = "tokenizer.ggml.tokens";

// Weights of the linear layers (vectors are too small to matter), with `vocabulary` rows of output matrix.
ModelShape ShapeOf(const ModelConfig& c, int64_t vocabulary) {
  const int64_t hidden = c.hidden, heads = int64_t{c.heads} * c.head_dim,
                kv = int64_t{c.kv_heads} * c.head_dim;
  const int64_t attention = 2 * hidden * (heads + kv);
  const int64_t expert = 3 * hidden * c.expert_feed_forward;
  const int64_t dense = c.experts > 0 ? hidden * c.experts : 3 * hidden * c.feed_forward;  // or the router
  const int64_t all = c.layers * (attention + dense + c.experts * expert) + vocabulary * hidden;
  ModelShape shape{.layers = c.layers, .kv_heads = c.kv_heads, .head_dim = c.head_dim, .context = c.context};
  shape.weights = c.layers * (attention + dense + c.experts_used * expert) + vocabulary * hidden;
  if (c.experts > 0) {
    shape.expert_share =
        static_cast<double>(c.layers * c.experts * expert) / static_cast<double>(std::max<int64_t>(all, 1));
    shape.expert_used = static_cast<double>(c.experts_used) / c.experts;
  }
  return shape;
}

int64_t VocabularyOf(const Gguf& gguf) {
  if (gguf.cut().key == kVocabulary)
    return static_cast<int64_t>(std::min<uint64_t>(gguf.cut().count, 1 << 22));
  const GgufValue* tokens = gguf.Find(kVocabulary);
  return tokens == nullptr ? 0 : static_cast<int64_t>(tokens->count);
}

}  // namespace

Result<ModelShape> ShapeOfBeginning(std::span<const std::byte> bytes, std::string_view origin) {
  PENSTOCK_ASSIGN(const Gguf gguf, Gguf::ParseBeginning(bytes, origin));
  PENSTOCK_ASSIGN(const ModelConfig config, ConfigFromGguf(gguf));
  return ShapeOf(config, VocabularyOf(gguf));
}

Result<ModelShape> ShapeOfModel(const std::string& path) {
  PENSTOCK_ASSIGN(ModelFiles files, ModelFiles::Open(path));
  PENSTOCK_ASSIGN(const Tensor embedding, files.TakeEmbedding());
  ModelShape shape = ShapeOf(files.config(), embedding.rows);
  if (!files.config().tied) shape.unread = embedding.data.size();
  return shape;
}

}  // namespace penstock
