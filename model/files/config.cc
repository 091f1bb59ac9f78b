#include "model/files/config_read.h"

namespace penstock::config_read {

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

}  // namespace penstock::config_read
