#include "gateway/dialects/openai/fields.h"

#include <charconv>
#include <limits>

namespace penstock::gateway {
namespace {

constexpr size_t kMaxStops = 16, kMaxStopBytes = 1024, kMaxBiases = 1024;

void ReadBias(Fields& fields, wire::SamplingSpec& sampling) {
  const json::object* const bias = fields.Object("logit_bias");
  if (bias == nullptr) return;
  if (bias->size() > kMaxBiases) {
    fields.Fault("logit_bias",
                 fmt::format("'logit_bias' has {} entries; at most {}", bias->size(), kMaxBiases));
    return;
  }
  for (const auto& [key, value] : *bias) {
    int32_t token = -1;
    const auto parsed = std::from_chars(key.data(), key.data() + key.size(), token);
    const bool is_token = parsed.ec == std::errc() && parsed.ptr == key.data() + key.size() && token >= 0;
    const double weight = value.is_number() ? value.to_number<double>() : 1000;
    if (!is_token || weight < -100 || weight > 100) {
      fields.Fault("logit_bias", "'logit_bias' must map token ids to numbers from -100 to 100");
      return;
    }
    sampling.add_bias_tokens(token);
    sampling.add_bias_values(static_cast<float>(weight));
  }
}

void ReadStopStrings(Fields& fields, ChatRequest& request) {
  const json::value* const stop = fields.Any("stop");
  if (stop == nullptr) return;
  const auto add = [&](const json::value& value) {
    if (!value.is_string() || value.get_string().empty() || value.get_string().size() > kMaxStopBytes) {
      fields.Fault("stop",
                   fmt::format("'stop' must be a string of 1 to {} bytes or an array of up to {} such "
                               "strings",
                               kMaxStopBytes, kMaxStops));
      return;
    }
    request.stop.emplace_back(ViewOf(value.get_string()));
  };
  if (!stop->is_array()) {
    add(*stop);
    return;
  }
  if (stop->get_array().size() > kMaxStops) {
    fields.Fault("stop",
                 fmt::format("'stop' has {} strings; at most {}", stop->get_array().size(), kMaxStops));
    return;
  }
  for (const json::value& value : stop->get_array()) add(value);
}

void ReadStopTokens(Fields& fields, ChatRequest& request) {
  const json::array* const tokens = fields.Array("stop_token_ids");
  if (tokens == nullptr) return;
  for (const json::value& value : *tokens) {
    if (!value.is_int64() || value.get_int64() < 0 || value.get_int64() > std::numeric_limits<Token>::max() ||
        request.stop_tokens.size() >= kMaxBiases) {
      fields.Fault("stop_token_ids", fmt::format("'stop_token_ids' must be up to {} token ids", kMaxBiases));
      return;
    }
    request.stop_tokens.push_back(static_cast<Token>(value.get_int64()));
  }
}

}  // namespace

void ReadModel(Fields& fields, ChatRequest& request) {
  const auto model = fields.String("model");
  if (!model || model->empty()) {
    fields.Fault("model", "'model' is missing; GET /v1/models lists yours");
    return;
  }
  request.model = *model;
}

void ReadLimits(Fields& fields, ChatRequest& request, int64_t default_tokens) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  const auto old_name = fields.Integer("max_tokens", 1, kMost);
  const auto new_name = fields.Integer("max_completion_tokens", 1, kMost);
  request.max_tokens = static_cast<uint32_t>(new_name.value_or(old_name.value_or(default_tokens)));
  request.choices = static_cast<uint32_t>(fields.Integer("n", 1, kMaxChoices).value_or(1));
  request.ignore_eos = fields.Bool("ignore_eos").value_or(false);
  request.include_stop = fields.Bool("include_stop_str_in_output").value_or(false);
}

void ReadSampling(Fields& fields, ChatRequest& request) {
  constexpr double kTiny = 1e-6;  // top_p 0 keeps one token
  wire::SamplingSpec& sampling = request.sampling;
  const auto number = [&](std::string_view name, double low, double high, double otherwise) {
    return static_cast<float>(fields.Number(name, low, high).value_or(otherwise));
  };
  sampling.set_temperature(number("temperature", 0, 2, 1));
  sampling.set_top_p(static_cast<float>(std::max(fields.Number("top_p", 0, 1).value_or(1), kTiny)));
  sampling.set_min_p(number("min_p", 0, 1, 0));
  const float repetition = number("repeat_penalty", 0.01, 10, 1);
  sampling.set_repetition_penalty(number("repetition_penalty", 0.01, 10, repetition));
  sampling.set_presence_penalty(number("presence_penalty", -2, 2, 0));
  sampling.set_frequency_penalty(number("frequency_penalty", -2, 2, 0));
  const auto top_k = fields.Integer("top_k", -1, std::numeric_limits<int32_t>::max()).value_or(0);
  sampling.set_top_k(static_cast<int32_t>(std::max<int64_t>(top_k, 0)));
  const auto seed =
      fields.Integer("seed", std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max());
  if (seed) request.seed = static_cast<uint64_t>(*seed);
  sampling.set_top_logprobs(-1);
  ReadBias(fields, sampling);
}

void ReadStop(Fields& fields, ChatRequest& request) {
  ReadStopStrings(fields, request);
  ReadStopTokens(fields, request);
}

void ReadStream(Fields& fields, ChatRequest& request) {
  request.stream = fields.Bool("stream").value_or(false);
  const json::object* const options = fields.Object("stream_options");
  if (options == nullptr) return;
  if (!request.stream) {
    fields.Fault("stream_options", "'stream_options' is only allowed with \"stream\": true");
    return;
  }
  Fields inner(*options, "stream_options.");
  request.include_usage = inner.Bool("include_usage").value_or(false);
  inner.Skip("include_obfuscation");
  if (inner.fault()) fields.Fault(*inner.fault());
  for (std::string& name : inner.Ignored()) request.ignored.push_back(std::move(name));
}

void ReadResponseFormat(Fields& fields) {
  const json::object* const format = fields.Object("response_format");
  if (format == nullptr) return;
  Fields inner(*format, "response_format.");
  const auto type = inner.String("type");
  if (inner.fault()) {
    fields.Fault(*inner.fault());
  } else if (!type) {
    fields.Fault("response_format", "'response_format' needs a 'type'");
  } else if (*type != "text") {
    fields.Unsupported(
        "response_format",
        fmt::format("'response_format' of type '{}' is not supported yet; only 'text' is", *type));
  }
}

ApiResult<ChatRequest> FinishReading(Fields& fields, Endpoint endpoint, ChatRequest request) {
  const auto tier = fields.String("service_tier");
  if (tier && *tier != "auto" && *tier != "default") fields.Ignore("service_tier");
  ReadRest(fields, endpoint);
  if (fields.fault()) return std::unexpected(*fields.fault());
  for (std::string& name : fields.Ignored()) request.ignored.push_back(std::move(name));
  return request;
}

}  // namespace penstock::gateway
