// ModelConfig from a config.json, as transformers reads it: its classes' defaults, its precedence, and what
// it rejects. Source: configuration_*.py and modeling_rope_utils.py of transformers 5.
#include <algorithm>
#include <array>
#include <cmath>

#include "model/files/architecture.h"
#include "model/files/config_read.h"
#include "model/files/keys.h"

namespace penstock {
namespace {

using namespace config_read;
using Bias = ModelConfig::Bias;

// What a config.json that lacks the field means. head_dim 0: hidden / heads; kv_heads 0: heads.
struct Defaults {
  std::string_view type;
  int32_t vocabulary, hidden, feed_forward, layers, heads, kv_heads, head_dim, context;
};
constexpr std::array<Defaults, 5> kDefaults = {{
    {"llama", 32000, 4096, 11008, 32, 32, 0, 0, 2048},
    {"mistral", 32000, 4096, 14336, 32, 32, 8, 0, 131072},
    {"qwen2", 151936, 4096, 22016, 32, 32, 32, 0, 32768},
    {"qwen3", 151936, 4096, 22016, 32, 32, 32, 128, 32768},
    {"qwen3_moe", 151936, 2048, 6144, 24, 32, 4, 0, 32768},
}};

bool IsNull(const JsonObject& j, std::string_view key) {
  const auto* value = j.raw().if_contains(key);
  return value != nullptr && value->is_null();
}

std::unexpected<Error> NullField(const JsonObject& j, std::string_view key) {
  return Fail(Reason::kModelDamaged,
              "{}: \"{}\" is null, which transformers rejects too; give it a value or remove it", j.origin(),
              key);
}

// A field that may be missing but not null.
Result<int32_t> Field(const JsonObject& j, const std::string& key, int64_t max, int64_t fallback) {
  if (IsNull(j, key)) return NullField(j, key);
  return IntOr(j, key, max, fallback);
}

// --- rope ---

Result<RopeScaling::Kind> KindOf(const JsonObject& rope) {
  PENSTOCK_ASSIGN(auto name, rope.String("rope_type"));
  if (IsNull(rope, "rope_type")) return NullField(rope, "rope_type");
  if (!name.has_value()) {
    PENSTOCK_ASSIGN(name, rope.String("type"));
  }
  if (!name.has_value() || *name == "default") return RopeScaling::Kind::kNone;
  if (*name == "linear") return RopeScaling::Kind::kLinear;
  if (*name == "yarn") return RopeScaling::Kind::kYarn;
  if (*name == "llama3") return RopeScaling::Kind::kLlama3;
  return Fail(Reason::kModelUnsupported,
              "{}: rope scaling \"{}\" is not supported; supported: default, linear, yarn, llama3",
              rope.origin(), *name);
}

Result<double> Needed(const JsonObject& rope, const std::string& key) {
  PENSTOCK_ASSIGN(const double value, PositiveOr(rope, key, 0));
  if (value == 0) return Missing(rope.origin(), key);
  return value;
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

Status ReadYarn(const JsonObject& rope, ModelConfig& c) {
  RopeScaling& s = c.scaling;
  if (IsNull(rope, "factor")) {
    s.factor = static_cast<double>(c.context) / static_cast<double>(s.original_context);
  } else {
    PENSTOCK_ASSIGN(s.factor, Needed(rope, "factor"));
  }
  PENSTOCK_ASSIGN(s.attention_factor, PositiveOr(rope, "attention_factor", 0));
  PENSTOCK_ASSIGN(s.beta_fast, PositiveOr(rope, "beta_fast", 32));
  PENSTOCK_ASSIGN(s.beta_slow, PositiveOr(rope, "beta_slow", 1));
  PENSTOCK_ASSIGN(const auto truncate, rope.Bool("truncate"));
  s.truncate = truncate.value_or(true);
  return ReadMscale(rope, s);
}

// The field outside the object wins (Phi 3 and others store the true value there).
Status ReadOriginalContext(const JsonObject& j, const JsonObject& rope, ModelConfig& c) {
  constexpr auto kName = "original_max_position_embeddings";
  const bool outside = j.raw().contains(kName);
  const JsonObject& from = outside ? j : rope;
  PENSTOCK_ASSIGN(c.scaling.original_context, Field(from, kName, kMaxContext, c.context));
  return {};
}

Status ReadScaling(const JsonObject& j, const JsonObject& rope, ModelConfig& c) {
  using Kind = RopeScaling::Kind;
  RopeScaling& s = c.scaling;
  PENSTOCK_ASSIGN(s.kind, KindOf(rope));
  switch (s.kind) {
    case Kind::kNone:
      return {};
    case Kind::kLinear: {
      PENSTOCK_ASSIGN(s.factor, Needed(rope, "factor"));
      return {};
    }
    case Kind::kYarn:
      PENSTOCK_TRY(ReadOriginalContext(j, rope, c));
      return ReadYarn(rope, c);
    case Kind::kLlama3: {
      PENSTOCK_TRY(ReadOriginalContext(j, rope, c));
      PENSTOCK_ASSIGN(s.factor, Needed(rope, "factor"));
      PENSTOCK_ASSIGN(s.low_freq_factor, Needed(rope, "low_freq_factor"));
      PENSTOCK_ASSIGN(s.high_freq_factor, Needed(rope, "high_freq_factor"));
      return {};
    }
  }
  return {};
}

// transformers: `rope_scaling or rope_parameters`; the theta outside fills in where the object has none.
Status ReadRope(const JsonObject& j, ModelConfig& c) {
  PENSTOCK_ASSIGN(auto rope, j.Object("rope_scaling"));
  if (!rope.has_value() || rope->raw().empty()) {
    PENSTOCK_ASSIGN(rope, j.Object("rope_parameters"));
  }
  const JsonObject& theta = rope.has_value() && rope->raw().contains("rope_theta") ? *rope : j;
  if (IsNull(theta, "rope_theta")) return NullField(theta, "rope_theta");
  PENSTOCK_ASSIGN(c.rope_base, PositiveOr(theta, "rope_theta", 10'000));
  if (!rope.has_value()) return {};
  for (const auto& [key, value] : rope->raw()) {
    if (!value.is_object()) continue;
    return Fail(Reason::kModelUnsupported,
                "{}: rope parameters of their own for layers of one kind (\"{}\") are not supported",
                rope->origin(), std::string_view(key));
  }
  PENSTOCK_ASSIGN(const double part, PositiveOr(*rope, "partial_rotary_factor", 1));
  if (part != 1) {
    return Fail(Reason::kModelUnsupported, "{}: \"partial_rotary_factor\" is {}; only 1 is supported",
                rope->origin(), part);
  }
  return ReadScaling(j, *rope, c);
}

// --- sliding window ---

// Whether any layer of qwen2 or qwen3 has the window. Errors: layer_types that do not fit.
Result<bool> AnyLayerSlides(const JsonObject& j, const ModelConfig& c, bool window) {
  const auto* types = j.Find("layer_types");
  if (types == nullptr) {
    PENSTOCK_ASSIGN(const auto full, j.Int("max_window_layers", 0, INT32_MAX));
    return window && full.value_or(28) < c.layers;
  }
  bool slides = false;
  if (!types->is_array() || std::ssize(types->get_array()) != c.layers) {
    return Fail(Reason::kModelDamaged, "{}: \"layer_types\" should have one type for each of {} layers",
                j.origin(), c.layers);
  }
  for (const auto& type : types->get_array()) {
    const std::string_view name = type.is_string() ? std::string_view(type.get_string()) : "";
    slides |= name == "sliding_attention";
    if (name != "full_attention" && name != "attention" && (name != "sliding_attention" || !window)) {
      return Fail(Reason::kModelUnsupported, "{}: \"layer_types\" has \"{}\", which is not supported{}",
                  j.origin(), name, name == "sliding_attention" ? " without a sliding_window in use" : "");
    }
  }
  return slides;
}

// Within its window, a sliding-window model computes the same as one with full attention: limit its context
// to that.
Status CapToWindow(const JsonObject& j, std::string_view type, ModelConfig& c) {
  if (type == "llama") return {};
  PENSTOCK_ASSIGN(const auto used, j.Bool("use_sliding_window"));
  const bool has = (type == "mistral" || used.value_or(false)) && !IsNull(j, "sliding_window");
  PENSTOCK_ASSIGN(const int32_t window, IntOr(j, "sliding_window", kMaxContext, 4096));
  bool slides = has;
  if (type == "qwen2" || type == "qwen3") {
    PENSTOCK_ASSIGN(slides, AnyLayerSlides(j, c, has));
  }
  if (slides) c.context = std::min(c.context, window);
  return {};
}

// --- the rest ---

Status ReadExperts(const JsonObject& j, ModelConfig& c) {
  const std::string name = j.raw().contains("num_local_experts") ? "num_local_experts" : "num_experts";
  PENSTOCK_ASSIGN(c.experts, Field(j, name, kMaxExperts, 128));
  PENSTOCK_ASSIGN(c.experts_used, Field(j, "num_experts_per_tok", kMaxExperts, 8));
  PENSTOCK_ASSIGN(c.expert_feed_forward, Field(j, "moe_intermediate_size", kMaxWidth, 768));
  PENSTOCK_ASSIGN(const auto normalise, j.Bool("norm_topk_prob"));
  c.normalise_experts = normalise.value_or(false);
  return {};
}

Status ReadSizes(const JsonObject& j, const Defaults& d, ModelConfig& c) {
  PENSTOCK_ASSIGN(c.vocabulary, Field(j, "vocab_size", kMaxVocabulary, d.vocabulary));
  PENSTOCK_ASSIGN(c.layers, Field(j, "num_hidden_layers", kMaxLayers, d.layers));
  PENSTOCK_ASSIGN(c.hidden, Field(j, "hidden_size", kMaxWidth, d.hidden));
  PENSTOCK_ASSIGN(c.context, Field(j, "max_position_embeddings", kMaxContext, d.context));
  PENSTOCK_ASSIGN(c.feed_forward, Field(j, "intermediate_size", kMaxWidth, d.feed_forward));
  PENSTOCK_ASSIGN(c.heads, Field(j, "num_attention_heads", kMaxHeads, d.heads));
  const bool as_heads = d.kv_heads == 0 || IsNull(j, "num_key_value_heads");
  PENSTOCK_ASSIGN(c.kv_heads, IntOr(j, "num_key_value_heads", kMaxHeads, as_heads ? c.heads : d.kv_heads));
  const bool shared_out = d.type == "llama" || d.type == "mistral";  // null: hidden / heads
  if (!shared_out && IsNull(j, "head_dim")) return NullField(j, "head_dim");
  const int32_t head = d.head_dim > 0 ? d.head_dim : std::max(1, c.hidden / c.heads);
  PENSTOCK_ASSIGN(c.head_dim, IntOr(j, "head_dim", kMaxHeadDim, head));
  c.rotary_dim = c.head_dim;
  if (d.type == "llama" && c.hidden % c.heads != 0) {
    return Fail(Reason::kModelDamaged,
                "{}: \"hidden_size\" {} is not a multiple of \"num_attention_heads\" {}", j.origin(),
                c.hidden, c.heads);
  }
  return {};
}

Status ReadBiases(const JsonObject& j, std::string_view type, ModelConfig& c) {
  c.qkv_bias = type == "qwen2" ? Bias::kRequired : Bias::kNone;
  c.output_bias = c.feed_forward_bias = Bias::kNone;
  if (type == "llama" || type == "qwen3" || type == "qwen3_moe") {
    PENSTOCK_ASSIGN(const auto attention, j.Bool("attention_bias"));
    if (attention.value_or(false)) c.qkv_bias = c.output_bias = Bias::kRequired;
  }
  if (type == "llama") {
    PENSTOCK_ASSIGN(const auto feed_forward, j.Bool("mlp_bias"));
    if (feed_forward.value_or(false)) c.feed_forward_bias = Bias::kRequired;
  }
  return {};
}

}  // namespace

Result<ModelConfig> ConfigFromJson(const JsonObject& j) {
  ModelConfig c;
  PENSTOCK_ASSIGN(const auto type, j.String("model_type"));
  if (!type.has_value()) return Missing(j.origin(), "model_type");
  PENSTOCK_ASSIGN(const Architecture* arch, FindArchitecture(*type, j.origin()));
  const auto* defaults = std::ranges::find(kDefaults, arch->hugging_face, &Defaults::type);
  if (*type != arch->hugging_face || defaults == kDefaults.end()) {
    return Fail(Reason::kModelUnsupported, "{}: \"model_type\" is \"{}\"; transformers calls it \"{}\"",
                j.origin(), *type, arch->hugging_face);
  }
  c.architecture = arch->name;
  PENSTOCK_TRY(CheckConfigFields(j, *type));
  PENSTOCK_TRY(ReadSizes(j, *defaults, c));
  if (IsNull(j, "rms_norm_eps")) return NullField(j, "rms_norm_eps");
  PENSTOCK_ASSIGN(const double eps, PositiveOr(j, "rms_norm_eps", 1e-6));
  c.norm_eps = static_cast<float>(eps);
  PENSTOCK_TRY(ReadRope(j, c));
  if (arch->mixture) PENSTOCK_TRY(ReadExperts(j, c));
  PENSTOCK_TRY(CapToWindow(j, *type, c));
  PENSTOCK_TRY(ReadBiases(j, *type, c));
  PENSTOCK_ASSIGN(const auto tied, j.Bool("tie_word_embeddings"));
  c.tied = tied.value_or(false);
  PENSTOCK_TRY(Check(c, j.origin()));
  return c;
}

}  // namespace penstock
