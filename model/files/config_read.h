// Shared by the readers of GGUF metadata and config.json: typed values with ranges and defaults.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "model/files/config.h"

namespace penstock::config_read {

inline constexpr int64_t kMaxLayers = 1024, kMaxWidth = 1 << 20, kMaxHeads = 4096, kMaxHeadDim = 1024;
inline constexpr int64_t kMaxExperts = 4096, kMaxContext = 1 << 27, kMaxVocabulary = 1 << 22;

inline std::unexpected<Error> Missing(std::string_view origin, std::string_view key) {
  return Fail(Reason::kModelDamaged, "{}: \"{}\" is missing; convert or download the model again", origin,
              key);
}

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
Status Check(const ModelConfig& config, std::string_view origin);

}  // namespace penstock::config_read
