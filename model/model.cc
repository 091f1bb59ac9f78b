#include "model/model.h"

#include <utility>

namespace penstock {
namespace {

bool HasInteger(const FeedForward& ff) {
  return ff.gate.weight.integer() || ff.up.weight.integer() || ff.down.weight.integer();
}

bool HasInteger(const Layer& layer) {
  for (const FeedForward& expert : layer.experts) {
    if (HasInteger(expert)) return true;
  }
  return layer.query.weight.integer() || layer.key.weight.integer() || layer.value.weight.integer() ||
         layer.output.weight.integer() || layer.router.weight.integer() || HasInteger(layer.dense);
}

}  // namespace

Result<std::unique_ptr<Model>> Model::Load(ModelFiles files, WeightMode mode, const kernels::Kernels& kernels,
                                           chip::ThreadPool& pool, chip::ThreadPool& packing) {
  PENSTOCK_ASSIGN(const auto* architecture, FindArchitecture(files.config().architecture, files.path()));
  std::unique_ptr<Model> model(new Model(std::move(files), *architecture, kernels, pool));
  PENSTOCK_TRY(model->LoadWeights(mode, packing));
  return model;
}

Status Model::LoadWeights(WeightMode mode, chip::ThreadPool& packing) {
  WeightLoader loader(files_, packing, mode);
  PENSTOCK_TRY(LoadRope());
  PENSTOCK_ASSIGN(embedding_, files_.TakeEmbedding());
  PENSTOCK_ASSIGN(output_norm_, loader.Vector("output_norm.weight", config().hidden));
  if (config().tied) {
    PENSTOCK_ASSIGN(output_.weight, loader.Pack(embedding_));
  } else {
    PENSTOCK_ASSIGN(output_, loader.Project("output", embedding_.rows, config().hidden));
  }
  integer_ = output_.weight.integer();
  layers_.resize(static_cast<size_t>(config().layers));
  for (int32_t i = 0; i < config().layers; ++i) {
    Layer& layer = layers_[static_cast<size_t>(i)];
    PENSTOCK_TRY(architecture_.load(loader, i, layer));
    integer_ = integer_ || HasInteger(layer);
  }
  weight_bytes_ = loader.resident_bytes();
  return files_.CheckAllTaken();
}

Status Model::LoadRope() {
  const int64_t pairs = config().rotary_dim / 2;
  PENSTOCK_ASSIGN(const auto tensor, files_.TakeIfThere("rope_freqs.weight", 1, pairs));
  std::vector<float> factors;
  if (tensor.has_value()) {
    factors.resize(static_cast<size_t>(pairs));
    kernels::Dequantize(tensor->format, tensor->data.data(), pairs, factors.data());
  }
  rope_ = std::make_unique<Rope>(config(), factors);
  return {};
}

void Model::Embed(Token token, float* out) const {
  if (config().tied) {
    output_.weight.DequantizeRow(token, out);
  } else {
    kernels::Dequantize(embedding_.format, embedding_.row(token), embedding_.cols, out);
  }
}

std::span<float> Model::Run(std::span<const Chunk> chunks, const KvPages& kv) {
  Forward forward(config(), kernels_, pool_, integer_, *rope_, kv, buffers_, chunks);
  forward.ForRows([&](int32_t row) { Embed(forward.token(row), forward.x(row)); });
  for (size_t i = 0; i < layers_.size(); ++i) {
    forward.BeginLayer(static_cast<int32_t>(i));
    architecture_.run(forward, layers_[i]);
  }
  const size_t size = static_cast<size_t>(forward.rows()) * static_cast<size_t>(vocabulary());
  if (size == 0) return {};
  forward.Normalise(output_norm_);
  forward.ProjectPrecisely(output_, logits_);
  return std::span(logits_).first(size);
}

}  // namespace penstock
