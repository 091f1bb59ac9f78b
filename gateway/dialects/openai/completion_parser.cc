// /v1/completions: from bytes to a ChatRequest.
#include <array>
#include <limits>

#include "gateway/dialects/openai/fields.h"
#include "gateway/dialects/openai/openai.h"

namespace penstock::gateway {
namespace {

constexpr size_t kMaxPrompts = 32;

// An array of integers; anything else is the fault.
std::vector<Token> ReadTokens(const json::array& values, Fields& fields) {
  std::vector<Token> tokens;
  tokens.reserve(values.size());
  for (const json::value& value : values) {
    const bool fits =
        value.is_int64() && value.get_int64() >= 0 && value.get_int64() <= std::numeric_limits<Token>::max();
    if (!fits) {
      fields.Fault("prompt",
                   "'prompt' must be a string, an array of strings, an array of token ids, or an "
                   "array of such arrays");
      return {};
    }
    tokens.push_back(static_cast<Token>(value.get_int64()));
  }
  return tokens;
}

void AddPrompt(const json::value& value, Fields& fields, ChatRequest& request) {
  if (value.is_string()) {
    request.prompts.push_back({.text = std::string(ViewOf(value.get_string())), .tokens = {}});
  } else if (value.is_array()) {
    request.prompts.push_back({.text = {}, .tokens = ReadTokens(value.get_array(), fields), .encoded = true});
  } else {
    fields.Fault("prompt",
                 fmt::format("'prompt' holds {}; it must hold strings or token ids", KindOf(value)));
  }
}

void ReadPrompt(Fields& fields, ChatRequest& request) {
  const json::value* const prompt = fields.Any("prompt");
  if (prompt == nullptr) {
    fields.Fault("prompt", "'prompt' is missing");
    return;
  }
  const bool many = prompt->is_array() && !prompt->get_array().empty() && !prompt->get_array()[0].is_number();
  if (!many) {
    AddPrompt(*prompt, fields, request);
    return;
  }
  if (prompt->get_array().size() > kMaxPrompts) {
    fields.Fault("prompt", fmt::format("'prompt' holds {} prompts; at most {}", prompt->get_array().size(),
                                       kMaxPrompts));
    return;
  }
  for (const json::value& value : prompt->get_array()) AddPrompt(value, fields, request);
}

void ReadCompletionOptions(Fields& fields, ChatRequest& request) {
  request.echo = fields.Bool("echo").value_or(false);
  if (const auto top = fields.Integer("logprobs", 0, kMaxTopLogprobs)) {
    request.sampling.set_top_logprobs(static_cast<int32_t>(*top));
    if (request.echo) fields.Unsupported("echo", "'echo' together with 'logprobs' is not supported");
  }
  const auto best_of = fields.Integer("best_of", 1, kMaxChoices);
  if (best_of && *best_of != request.choices) {
    fields.Unsupported("best_of", "'best_of' other than 'n' is not supported; leave it out");
  }
  ReadResponseFormat(fields);
}

}  // namespace

ApiResult<ChatRequest> ParseCompletion(std::string_view body) {
  constexpr int64_t kDefaultTokens = 16;  // OpenAI's
  std::array<unsigned char, 16 << 10> stack;
  json::monotonic_resource memory(stack.data(), stack.size());
  const auto parsed = ParseJsonObject(body, &memory);
  if (!parsed) return std::unexpected(parsed.error());
  Fields fields(parsed->get_object());
  ChatRequest request;
  request.kind = ChatRequest::Kind::kCompletion;
  ReadModel(fields, request);
  ReadPrompt(fields, request);
  ReadLimits(fields, request, kDefaultTokens);
  ReadSampling(fields, request);
  ReadCompletionOptions(fields, request);
  ReadStop(fields, request);
  ReadStream(fields, request);
  return FinishReading(fields, Endpoint::kCompletions, std::move(request));
}

}  // namespace penstock::gateway
