// ModelConfig from the metadata of a GGUF, with libllama's defaults (llama-model.cpp, load_hparams).
#include <algorithm>
#include <cmath>

#include "model/files/architecture.h"
#include "model/files/config_read.h"
#include "model/files/keys.h"

namespace penstock {
namespace {

using namespace config_read;

// The factor: 1 if the file has none, or 0.
Result<double> ScalingFactor(const Gguf& g, const std::string& prefix) {
  for (const auto* name : {"rope.scaling.factor", "rope.scale_linear"}) {
    PENSTOCK_ASSIGN(const auto factor, g.Real(prefix + name));
    if (!factor.has_value()) continue;
    if (*factor < 0) {
      return Fail(Reason::kModelDamaged, "{}: \"{}{}\" is {}, but it must be above zero", g.origin(), prefix,
                  name, *factor);
    }
    return *factor == 0 ? 1 : *factor;
  }
  return 1;
}

Status ReadScaling(const Gguf& g, const std::string& prefix, ModelConfig& c) {
  using Kind = RopeScaling::Kind;
  PENSTOCK_ASSIGN(const auto type, g.String(prefix + "rope.scaling.type"));
  PENSTOCK_ASSIGN(const double factor, ScalingFactor(g, prefix));
  PENSTOCK_ASSIGN(c.scaling.original_context,
                  IntOr(g, prefix + "rope.scaling.original_context_length", kMaxContext, c.context));
  const auto name = type.value_or("linear");
  if (name == "linear")
    c.scaling.kind = factor == 1 ? Kind::kNone : Kind::kLinear;
  else if (name == "yarn")
    c.scaling.kind = Kind::kYarn;
  else if (name != "none") {
    return Fail(
        Reason::kModelUnsupported,
        "{}: \"{}rope.scaling.type\" is \"{}\", which is not supported; supported: none, linear, yarn",
        g.origin(), prefix, name);
  }
  c.scaling.factor = name == "none" ? 1 : factor;
  // In a GGUF this multiplies the default, whatever the type; in transformers it replaces yarn's default.
  PENSTOCK_ASSIGN(const double attention, PositiveOr(g, prefix + "rope.scaling.attn_factor", 1));
  const double usual = c.scaling.kind == Kind::kYarn && factor > 1 ? 0.1 * std::log(factor) + 1 : 1;
  if (attention != 1) c.scaling.attention_factor = attention * usual;
  return {};
}

Result<int32_t> OfLayers(const Gguf& g, const std::string& key, const ModelConfig& c, int64_t max,
                         int64_t fallback) {
  PENSTOCK_ASSIGN(const auto value, g.IntOfLayers(key, c.layers, 1, max));
  if (!value.has_value() && fallback < 0) return Missing(g.origin(), key);
  return static_cast<int32_t>(value.value_or(fallback));
}

Status ReadHeads(const Gguf& g, const std::string& prefix, ModelConfig& c) {
  PENSTOCK_ASSIGN(c.heads, OfLayers(g, prefix + "attention.head_count", c, kMaxHeads, -1));
  PENSTOCK_ASSIGN(c.kv_heads, OfLayers(g, prefix + "attention.head_count_kv", c, kMaxHeads, c.heads));
  PENSTOCK_ASSIGN(c.head_dim, IntOr(g, prefix + "attention.key_length", kMaxHeadDim, c.hidden / c.heads));
  PENSTOCK_ASSIGN(const int32_t value_dim,
                  IntOr(g, prefix + "attention.value_length", kMaxHeadDim, c.hidden / c.heads));
  if (value_dim != c.head_dim) {
    return Fail(Reason::kModelUnsupported,
                "{}: keys of {} and values of {} dimensions differ, which is not supported", g.origin(),
                c.head_dim, value_dim);
  }
  PENSTOCK_ASSIGN(c.rotary_dim, IntOr(g, prefix + "rope.dimension_count", kMaxHeadDim, c.head_dim));
  if (c.rotary_dim != c.head_dim) {  // libllama does not compute it either
    return Fail(Reason::kModelDamaged, "{}: \"{}rope.dimension_count\" is {}, but a head has {} dimensions",
                g.origin(), prefix, c.rotary_dim, c.head_dim);
  }
  return {};
}

Status ReadExperts(const Gguf& g, const std::string& prefix, ModelConfig& c) {
  PENSTOCK_ASSIGN(c.experts, NeedInt(g, prefix + "expert_count", kMaxExperts));
  PENSTOCK_ASSIGN(c.experts_used, OfLayers(g, prefix + "expert_used_count", c, kMaxExperts, -1));
  PENSTOCK_ASSIGN(c.expert_feed_forward,
                  OfLayers(g, prefix + "expert_feed_forward_length", c, kMaxWidth, -1));
  return {};
}

// Within its window, a sliding-window model computes the same as one with full attention.
Status CapToWindow(const Gguf& g, const std::string& prefix, ModelConfig& c) {
  PENSTOCK_ASSIGN(const auto window, g.Int(prefix + "attention.sliding_window", 0, UINT32_MAX));
  if (window.value_or(0) > 0) c.context = static_cast<int32_t>(std::min<int64_t>(c.context, *window));
  return {};
}

}  // namespace

Result<ModelConfig> ConfigFromGguf(const Gguf& g) {
  ModelConfig c;
  PENSTOCK_ASSIGN(const auto name, g.String("general.architecture"));
  if (!name.has_value()) return Missing(g.origin(), "general.architecture");
  PENSTOCK_ASSIGN(const Architecture* arch, FindArchitecture(*name, g.origin()));
  if (*name != arch->name || !arch->in_gguf) {
    return Fail(Reason::kModelUnsupported,
                "{}: architecture \"{}\" is not one of GGUF files; convert the model again", g.origin(),
                *name);
  }
  c.architecture = arch->name;
  c.rope_neox = !arch->gguf_interleaved;
  PENSTOCK_TRY(CheckGgufKeys(g, *name));
  const std::string prefix = c.architecture + ".";
  PENSTOCK_ASSIGN(c.layers, NeedInt(g, prefix + "block_count", kMaxLayers));
  PENSTOCK_ASSIGN(c.hidden, NeedInt(g, prefix + "embedding_length", kMaxWidth));
  PENSTOCK_ASSIGN(c.context, NeedInt(g, prefix + "context_length", kMaxContext));
  PENSTOCK_ASSIGN(c.feed_forward, OfLayers(g, prefix + "feed_forward_length", c, kMaxWidth, 0));
  PENSTOCK_TRY(ReadHeads(g, prefix, c));
  if (arch->mixture) PENSTOCK_TRY(ReadExperts(g, prefix, c));
  PENSTOCK_ASSIGN(const double eps, PositiveOr(g, prefix + "attention.layer_norm_rms_epsilon", 0));
  if (eps == 0) return Missing(g.origin(), prefix + "attention.layer_norm_rms_epsilon");
  c.norm_eps = static_cast<float>(eps);
  PENSTOCK_ASSIGN(c.rope_base, PositiveOr(g, prefix + "rope.freq_base", 10'000));
  PENSTOCK_TRY(ReadScaling(g, prefix, c));
  PENSTOCK_TRY(CapToWindow(g, prefix, c));
  PENSTOCK_TRY(Check(c, g.origin()));
  return c;
}

}  // namespace penstock
