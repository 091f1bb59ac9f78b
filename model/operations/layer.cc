#include "model/operations/layer.h"

#include <span>
#include <utility>

namespace penstock {
namespace {

std::string InLayer(int32_t layer, std::string_view part) {
  return fmt::format("blk.{}.{}", layer, part);
}

}  // namespace

Result<std::vector<float>> WeightLoader::Vector(const std::string& name, int64_t size) {
  PENSTOCK_ASSIGN(const Tensor t, files_.Take(name, 1, size));
  std::vector<float> values(static_cast<size_t>(size));
  kernels::Dequantize(t.format, t.data.data(), size, values.data());
  resident_bytes_ += size * static_cast<int64_t>(sizeof(float));
  return values;
}

Result<kernels::Matrix> WeightLoader::Pack(const Tensor& t) {
  using kernels::Format;
  const auto rows = static_cast<int32_t>(t.rows), cols = static_cast<int32_t>(t.cols);
  std::vector<float> floats;
  auto format = t.format;
  auto data = t.data;
  if (mode_ == WeightMode::kDequantised) {
    floats.resize(static_cast<size_t>(t.rows * t.cols));
    pool_.For(t.rows, 16, [&](int64_t begin, int64_t end, int) {
      kernels::Dequantize(t.format, t.row(begin), (end - begin) * t.cols, floats.data() + begin * t.cols);
    });
    format = Format::kF32;
    data = std::as_bytes(std::span(floats));
  }
  auto matrix = kernels::Matrix::Pack(format, data, rows, cols, &pool_);
  if (!matrix.has_value()) {
    return Fail(matrix.error().code, "{}: tensor \"{}\": {}", files_.path(), t.name, matrix.error().message);
  }
  files_.Release(t);
  resident_bytes_ += matrix->resident_bytes();
  return matrix;
}

Result<Linear> WeightLoader::Project(const std::string& stem, int64_t rows, int64_t cols) {
  Linear linear;
  PENSTOCK_ASSIGN(const Tensor weight, files_.Take(stem + ".weight", rows, cols));
  PENSTOCK_ASSIGN(linear.weight, Pack(weight));
  PENSTOCK_ASSIGN(const auto bias, files_.TakeIfThere(stem + ".bias", 1, rows));
  if (bias.has_value()) {
    linear.bias.resize(static_cast<size_t>(rows));
    kernels::Dequantize(bias->format, bias->data.data(), rows, linear.bias.data());
  }
  return linear;
}

Status WeightLoader::Attention(int32_t layer, QkvBias bias, Layer& out) {
  const ModelConfig& c = config();
  const int64_t query = int64_t{c.heads} * c.head_dim, key = int64_t{c.kv_heads} * c.head_dim;
  PENSTOCK_ASSIGN(out.attention_norm, Vector(InLayer(layer, "attn_norm.weight"), c.hidden));
  PENSTOCK_ASSIGN(out.query, Project(InLayer(layer, "attn_q"), query, c.hidden));
  PENSTOCK_ASSIGN(out.key, Project(InLayer(layer, "attn_k"), key, c.hidden));
  PENSTOCK_ASSIGN(out.value, Project(InLayer(layer, "attn_v"), key, c.hidden));
  PENSTOCK_ASSIGN(out.output, Project(InLayer(layer, "attn_output"), c.hidden, query));
  if (bias == QkvBias::kRequired &&
      (out.query.bias.empty() || out.key.bias.empty() || out.value.bias.empty())) {
    return Fail(Reason::kModelDamaged,
                "{}: layer {} lacks a bias of q, k or v, which architecture {} needs; convert or download "
                "the model again",
                files_.path(), layer, c.architecture);
  }
  return {};
}

Status WeightLoader::HeadNorms(int32_t layer, Layer& out) {
  PENSTOCK_ASSIGN(out.query_norm, Vector(InLayer(layer, "attn_q_norm.weight"), config().head_dim));
  PENSTOCK_ASSIGN(out.key_norm, Vector(InLayer(layer, "attn_k_norm.weight"), config().head_dim));
  return {};
}

Status WeightLoader::DenseFeedForward(int32_t layer, Layer& out) {
  const ModelConfig& c = config();
  PENSTOCK_ASSIGN(out.feed_forward_norm, Vector(InLayer(layer, "ffn_norm.weight"), c.hidden));
  PENSTOCK_ASSIGN(out.dense.gate, Project(InLayer(layer, "ffn_gate"), c.feed_forward, c.hidden));
  PENSTOCK_ASSIGN(out.dense.up, Project(InLayer(layer, "ffn_up"), c.feed_forward, c.hidden));
  PENSTOCK_ASSIGN(out.dense.down, Project(InLayer(layer, "ffn_down"), c.hidden, c.feed_forward));
  return {};
}

Status WeightLoader::Experts(int32_t layer, Layer& out) {
  const ModelConfig& c = config();
  PENSTOCK_ASSIGN(out.feed_forward_norm, Vector(InLayer(layer, "ffn_norm.weight"), c.hidden));
  PENSTOCK_ASSIGN(out.router, Project(InLayer(layer, "ffn_gate_inp"), c.experts, c.hidden));
  PENSTOCK_ASSIGN(auto gate, ExpertStack(InLayer(layer, "ffn_gate"), c.expert_feed_forward, c.hidden));
  PENSTOCK_ASSIGN(auto up, ExpertStack(InLayer(layer, "ffn_up"), c.expert_feed_forward, c.hidden));
  PENSTOCK_ASSIGN(auto down, ExpertStack(InLayer(layer, "ffn_down"), c.hidden, c.expert_feed_forward));
  for (size_t e = 0; e < gate.size(); ++e) {
    out.experts.push_back({std::move(gate[e]), std::move(up[e]), std::move(down[e])});
  }
  return {};
}

// GGUF stacks a layer's experts in one tensor; a Hugging Face folder has one tensor per expert.
Result<std::vector<Linear>> WeightLoader::ExpertStack(const std::string& stem, int64_t rows, int64_t cols) {
  const int32_t experts = config().experts;
  std::vector<Linear> linears(static_cast<size_t>(experts));
  const std::string stacked = stem + "_exps.weight";
  if (!files_.Has(stacked)) {
    for (int32_t e = 0; e < experts; ++e) {
      PENSTOCK_ASSIGN(linears[static_cast<size_t>(e)], Project(fmt::format("{}.{}", stem, e), rows, cols));
    }
    return linears;
  }
  PENSTOCK_ASSIGN(const Tensor stack, files_.Take(stacked, rows, cols, experts));
  for (int32_t e = 0; e < experts; ++e) {
    PENSTOCK_ASSIGN(linears[static_cast<size_t>(e)].weight, Pack(stack.At(e)));
  }
  return linears;
}

}  // namespace penstock
