#include "model/files/config.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <string_view>

#include "model/files/architecture.h"

namespace penstock {
namespace {

constexpr int64_t kMaxLayers = 1024, kMaxWidth = 1 << 20, kMaxHeads = 4096, kMaxHeadDim = 1024;
constexpr int64_t kMaxExperts = 4096, kMaxContext = 1 << 27;

std::unexpected<Error> Missing(std::string_view origin, std::string_view key) {
  return Fail(Reason::kModelDamaged, "{}: \"{}\" is missing; convert or download the model again", origin,
              key);
}

// GGUF metadata and config.json are read by the same code; only the names of the keys differ.
template <class Source>
Result<int32_t> IntOr(const Source& source, const std::string& key, int64_t max, int64_t fallback) {
  PENSTOCK_ASSIGN(const auto value, source.Int(key, 1, max));
  return static_cast<int32_t>(value.value_or(fallback));
}

template <class Source>
Result<int32_t> NeedInt(const Source& source, const std::string& key, int64_t max) {
  PENSTOCK_ASSIGN(const auto value, source.Int(key, 1, max));
  if (!value.has_value()) return Missing(source.origin(), key);
  return static_cast<int32_t>(*value);
}

template <class Source>
Result<double> PositiveOr(const Source& source, const std::string& key, double fallback) {
  PENSTOCK_ASSIGN(const auto value, source.Real(key));
  if (value.has_value() && *value <= 0) {
    return Fail(Reason::kModelDamaged, "{}: \"{}\" is {}, but it must be above zero", source.origin(), key,
                *value);
  }
  return value.value_or(fallback);
}

// Checks the relations between the numbers, for every kind of file.
Status Check(const ModelConfig& c, std::string_view origin) {
  const auto bad = [&](std::string_view what) {
    return Fail(Reason::kModelDamaged, "{}: {}; convert or download the model again", origin, what);
  };
  if (c.heads % c.kv_heads != 0)
    return bad(fmt::format("{} heads cannot share {} key-value heads", c.heads, c.kv_heads));
  if (c.head_dim % 2 != 0)
    return bad(fmt::format("a head of {} dimensions cannot be rotated in pairs", c.head_dim));
  if (c.rotary_dim % 2 != 0 || c.rotary_dim > c.head_dim) {
    return bad(fmt::format("{} rotary dimensions do not fit a head of {}", c.rotary_dim, c.head_dim));
  }
  if (c.experts_used > c.experts)
    return bad(fmt::format("{} of {} experts cannot be used", c.experts_used, c.experts));
  if (!(c.norm_eps > 0) || c.norm_eps > 1)
    return bad(fmt::format("a norm epsilon of {} is invalid", c.norm_eps));
  if (!(c.rope_base > 1)) return bad(fmt::format("a rope base of {} is invalid", c.rope_base));
  if (c.scaling.kind != RopeScaling::Kind::kNone && c.scaling.factor < 1) {
    return bad(fmt::format("a rope scaling factor of {} is below one", c.scaling.factor));
  }
  if (c.scaling.kind == RopeScaling::Kind::kLlama3 &&
      c.scaling.low_freq_factor >= c.scaling.high_freq_factor) {
    return bad("rope scaling's low_freq_factor is not below its high_freq_factor");
  }
  return {};
}

// --- GGUF ---

Status ReadScaling(const Gguf& g, const std::string& prefix, ModelConfig& c) {
  PENSTOCK_ASSIGN(const auto type, g.String(prefix + "rope.scaling.type"));
  PENSTOCK_ASSIGN(c.scaling.factor, PositiveOr(g, prefix + "rope.scaling.factor", 1));
  PENSTOCK_ASSIGN(c.scaling.original_context,
                  IntOr(g, prefix + "rope.scaling.original_context_length", kMaxContext, c.context));
  const auto name = type.value_or("none");
  if (name == "linear")
    c.scaling.kind = RopeScaling::Kind::kLinear;
  else if (name == "yarn")
    c.scaling.kind = RopeScaling::Kind::kYarn;
  else if (name != "none") {
    return Fail(Reason::kModelUnsupported,
                "{}: rope scaling \"{}\" is not supported; supported: none, linear, yarn, llama3", g.origin(),
                name);
  }
  // In a GGUF the factor multiplies the default (llama.cpp); in transformers it replaces the default.
  PENSTOCK_ASSIGN(const double attention, PositiveOr(g, prefix + "rope.scaling.attn_factor", 1));
  if (attention != 1) c.scaling.attention_factor = attention * (0.1 * std::log(c.scaling.factor) + 1);
  PENSTOCK_ASSIGN(c.scaling.beta_fast, PositiveOr(g, prefix + "rope.scaling.yarn_beta_fast", 32));
  PENSTOCK_ASSIGN(c.scaling.beta_slow, PositiveOr(g, prefix + "rope.scaling.yarn_beta_slow", 1));
  return {};
}

Status ReadHeads(const Gguf& g, const std::string& prefix, ModelConfig& c) {
  PENSTOCK_ASSIGN(c.heads, NeedInt(g, prefix + "attention.head_count", kMaxHeads));
  PENSTOCK_ASSIGN(c.kv_heads, IntOr(g, prefix + "attention.head_count_kv", kMaxHeads, c.heads));
  PENSTOCK_ASSIGN(c.head_dim, IntOr(g, prefix + "attention.key_length", kMaxHeadDim, c.hidden / c.heads));
  PENSTOCK_ASSIGN(const int32_t value_dim,
                  IntOr(g, prefix + "attention.value_length", kMaxHeadDim, c.head_dim));
  if (value_dim != c.head_dim) {
    return Fail(Reason::kModelUnsupported,
                "{}: keys of {} and values of {} dimensions differ, which is not supported", g.origin(),
                c.head_dim, value_dim);
  }
  PENSTOCK_ASSIGN(c.rotary_dim, IntOr(g, prefix + "rope.dimension_count", kMaxHeadDim, c.head_dim));
  return {};
}

Status ReadExperts(const Gguf& g, const std::string& prefix, const Architecture& arch, ModelConfig& c) {
  PENSTOCK_ASSIGN(const auto experts, g.Int(prefix + "expert_count", 0, kMaxExperts));
  if (!arch.mixture) {
    if (experts.value_or(0) == 0) return {};
    return Fail(Reason::kModelUnsupported,
                "{}: architecture \"{}\" with {} experts is not supported; qwen3moe is", g.origin(),
                arch.name, *experts);
  }
  PENSTOCK_ASSIGN(c.experts, NeedInt(g, prefix + "expert_count", kMaxExperts));
  PENSTOCK_ASSIGN(c.experts_used, NeedInt(g, prefix + "expert_used_count", kMaxExperts));
  PENSTOCK_ASSIGN(c.expert_feed_forward, NeedInt(g, prefix + "expert_feed_forward_length", kMaxWidth));
  return {};
}

// --- config.json ---

Result<RopeScaling::Kind> KindOf(std::string_view name, std::string_view origin) {
  if (name == "default") return RopeScaling::Kind::kNone;
  if (name == "linear") return RopeScaling::Kind::kLinear;
  if (name == "yarn") return RopeScaling::Kind::kYarn;
  if (name == "llama3") return RopeScaling::Kind::kLlama3;
  return Fail(Reason::kModelUnsupported,
              "{}: rope scaling \"{}\" is not supported; supported: default, linear, yarn, llama3", origin,
              name);
}

// Reads DeepSeek's pair of factors, if a yarn configuration has them.
Status ReadMscale(const JsonObject& rope, RopeScaling& s) {
  PENSTOCK_ASSIGN(const double mscale, PositiveOr(rope, "mscale", 0));
  PENSTOCK_ASSIGN(const double all_dim, PositiveOr(rope, "mscale_all_dim", 0));
  const auto scale = [&](double m) { return s.factor <= 1 ? 1.0 : 0.1 * m * std::log(s.factor) + 1; };
  if (mscale != 0 && all_dim != 0 && s.attention_factor == 0)
    s.attention_factor = scale(mscale) / scale(all_dim);
  return {};
}

Status ReadScalingFields(const JsonObject& rope, ModelConfig& c) {
  RopeScaling& s = c.scaling;
  PENSTOCK_ASSIGN(s.factor, PositiveOr(rope, "factor", 1));
  PENSTOCK_ASSIGN(s.original_context,
                  IntOr(rope, "original_max_position_embeddings", kMaxContext, c.context));
  PENSTOCK_ASSIGN(s.attention_factor, PositiveOr(rope, "attention_factor", 0));
  PENSTOCK_ASSIGN(s.beta_fast, PositiveOr(rope, "beta_fast", 32));
  PENSTOCK_ASSIGN(s.beta_slow, PositiveOr(rope, "beta_slow", 1));
  PENSTOCK_ASSIGN(const auto truncate, rope.Bool("truncate"));
  s.truncate = truncate.value_or(true);
  PENSTOCK_ASSIGN(s.low_freq_factor, PositiveOr(rope, "low_freq_factor", 1));
  PENSTOCK_ASSIGN(s.high_freq_factor, PositiveOr(rope, "high_freq_factor", 4));
  return ReadMscale(rope, s);
}

// Up to transformers 4: "rope_scaling" and "rope_theta"; since transformers 5: both in "rope_parameters".
Status ReadRope(const JsonObject& j, ModelConfig& c) {
  PENSTOCK_ASSIGN(c.rope_base, PositiveOr(j, "rope_theta", 10'000));
  PENSTOCK_ASSIGN(auto rope, j.Object("rope_parameters"));
  if (!rope.has_value()) {
    PENSTOCK_ASSIGN(rope, j.Object("rope_scaling"));
  }
  if (!rope.has_value()) return {};
  PENSTOCK_ASSIGN(c.rope_base, PositiveOr(*rope, "rope_theta", c.rope_base));
  PENSTOCK_ASSIGN(auto type, rope->String("rope_type"));
  if (!type.has_value()) {
    PENSTOCK_ASSIGN(type, rope->String("type"));
  }
  PENSTOCK_ASSIGN(c.scaling.kind, KindOf(type.value_or("default"), rope->origin()));
  return c.scaling.kind == RopeScaling::Kind::kNone ? Status{} : ReadScalingFields(*rope, c);
}

Status ReadExperts(const JsonObject& j, ModelConfig& c) {
  PENSTOCK_ASSIGN(c.experts, NeedInt(j, "num_experts", kMaxExperts));
  PENSTOCK_ASSIGN(c.experts_used, NeedInt(j, "num_experts_per_tok", kMaxExperts));
  PENSTOCK_ASSIGN(c.expert_feed_forward, NeedInt(j, "moe_intermediate_size", kMaxWidth));
  PENSTOCK_ASSIGN(const auto normalise, j.Bool("norm_topk_prob"));
  c.normalise_experts = normalise.value_or(false);
  PENSTOCK_ASSIGN(const int32_t sparse_step, IntOr(j, "decoder_sparse_step", kMaxLayers, 1));
  const auto* dense = j.Find("mlp_only_layers");
  if (sparse_step != 1 || (dense != nullptr && dense->is_array() && !dense->get_array().empty())) {
    return Fail(Reason::kModelUnsupported,
                "{}: a mixture with some dense layers (decoder_sparse_step, mlp_only_layers) is not "
                "supported",
                j.origin());
  }
  return {};
}

// Within its window, a sliding-window model computes the same as one with full attention: limit its context
// to that.
Status CapToWindow(const JsonObject& j, ModelConfig& c) {
  PENSTOCK_ASSIGN(const auto used, j.Bool("use_sliding_window"));
  if (!used.value_or(false)) return {};
  PENSTOCK_ASSIGN(const int32_t window, IntOr(j, "sliding_window", kMaxContext, c.context));
  c.context = std::min(c.context, window);
  return {};
}

Status RefuseUnserved(const JsonObject& j) {
  if (j.Find("quantization_config") != nullptr) {
    return Fail(Reason::kModelUnsupported,
                "{}: \"quantization_config\": quantised folders are not supported; use the "
                "unquantised model or a GGUF file",
                j.origin());
  }
  PENSTOCK_ASSIGN(const auto activation, j.String("hidden_act"));
  if (activation.value_or("silu") != "silu") {
    return Fail(Reason::kModelUnsupported, "{}: \"hidden_act\" is {}; only silu is supported", j.origin(),
                *activation);
  }
  return {};
}

}  // namespace

Result<ModelConfig> ConfigFromGguf(const Gguf& g) {
  ModelConfig c;
  PENSTOCK_ASSIGN(const auto name, g.String("general.architecture"));
  if (!name.has_value()) return Missing(g.origin(), "general.architecture");
  PENSTOCK_ASSIGN(const Architecture* arch, FindArchitecture(*name, g.origin()));
  c.architecture = arch->name;
  c.rope_neox = !arch->gguf_interleaved;
  const std::string prefix = c.architecture + ".";
  PENSTOCK_ASSIGN(c.layers, NeedInt(g, prefix + "block_count", kMaxLayers));
  PENSTOCK_ASSIGN(c.hidden, NeedInt(g, prefix + "embedding_length", kMaxWidth));
  PENSTOCK_ASSIGN(c.context, NeedInt(g, prefix + "context_length", kMaxContext));
  PENSTOCK_ASSIGN(c.feed_forward, IntOr(g, prefix + "feed_forward_length", kMaxWidth, 0));
  PENSTOCK_TRY(ReadHeads(g, prefix, c));
  PENSTOCK_TRY(ReadExperts(g, prefix, *arch, c));
  PENSTOCK_ASSIGN(const double eps, PositiveOr(g, prefix + "attention.layer_norm_rms_epsilon", 0));
  if (eps == 0) return Missing(g.origin(), prefix + "attention.layer_norm_rms_epsilon");
  c.norm_eps = static_cast<float>(eps);
  PENSTOCK_ASSIGN(c.rope_base, PositiveOr(g, prefix + "rope.freq_base", 10'000));
  PENSTOCK_TRY(ReadScaling(g, prefix, c));
  PENSTOCK_TRY(Check(c, g.origin()));
  return c;
}

Result<ModelConfig> ConfigFromJson(const JsonObject& j) {
  ModelConfig c;
  PENSTOCK_ASSIGN(const auto type, j.String("model_type"));
  if (!type.has_value()) return Missing(j.origin(), "model_type");
  PENSTOCK_ASSIGN(const Architecture* arch, FindArchitecture(*type, j.origin()));
  c.architecture = arch->name;
  PENSTOCK_TRY(RefuseUnserved(j));
  PENSTOCK_ASSIGN(c.layers, NeedInt(j, "num_hidden_layers", kMaxLayers));
  PENSTOCK_ASSIGN(c.hidden, NeedInt(j, "hidden_size", kMaxWidth));
  PENSTOCK_ASSIGN(c.context, IntOr(j, "max_position_embeddings", kMaxContext, 2048));
  PENSTOCK_ASSIGN(c.feed_forward, IntOr(j, "intermediate_size", kMaxWidth, 0));
  PENSTOCK_ASSIGN(c.heads, NeedInt(j, "num_attention_heads", kMaxHeads));
  PENSTOCK_ASSIGN(c.kv_heads, IntOr(j, "num_key_value_heads", kMaxHeads, c.heads));
  PENSTOCK_ASSIGN(c.head_dim, IntOr(j, "head_dim", kMaxHeadDim, std::max(1, c.hidden / c.heads)));
  c.rotary_dim = c.head_dim;
  PENSTOCK_ASSIGN(const double eps, PositiveOr(j, "rms_norm_eps", 1e-6));
  c.norm_eps = static_cast<float>(eps);
  PENSTOCK_TRY(ReadRope(j, c));
  if (arch->mixture) PENSTOCK_TRY(ReadExperts(j, c));
  PENSTOCK_TRY(CapToWindow(j, c));
  PENSTOCK_ASSIGN(const auto tied, j.Bool("tie_word_embeddings"));
  c.tied = tied.value_or(false);
  PENSTOCK_TRY(Check(c, j.origin()));
  return c;
}

}  // namespace penstock
