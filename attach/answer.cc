#include "attach/answer.h"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <cmath>

#include "engine/output.h"

namespace penstock {
namespace {

namespace json = boost::json;

constexpr size_t kShown = 300;

const json::value* Find(const json::value& value, std::string_view name) {
  const auto* object = value.if_object();
  return object == nullptr ? nullptr : object->if_contains(name);
}

std::string Text(const json::value* value) {
  const auto* text = value == nullptr ? nullptr : value->if_string();
  return text == nullptr ? "" : std::string(*text);
}

int64_t Number(const json::value* value, int64_t otherwise) {
  if (value == nullptr || !value->is_number()) return otherwise;
  boost::system::error_code error;
  const auto number = value->to_number<int64_t>(error);
  return error ? otherwise : number;
}

uint32_t Count(const json::value* value) {
  return static_cast<uint32_t>(std::clamp<int64_t>(Number(value, 0), 0, INT32_MAX));
}

Token TokenOf(const json::value* value) {
  const int64_t number = Number(value, -1);
  return number < 0 || number > INT32_MAX ? -1 : static_cast<Token>(number);
}

float Logprob(const json::value* value) {
  if (value == nullptr || !value->is_number()) return -INFINITY;  // null: never chosen
  boost::system::error_code error;
  const auto number = value->to_number<double>(error);
  return error ? -INFINITY : static_cast<float>(number);
}

// "token_id:123", as vLLM writes tokens by number when asked to.
Token NumberedToken(std::string_view text) {
  constexpr std::string_view kPrefix = "token_id:";
  if (!text.starts_with(kPrefix)) return -1;
  text.remove_prefix(kPrefix.size());
  Token token = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), token);
  return error == std::errc() && end == text.data() + text.size() ? token : -1;
}

Token EntryToken(const json::value& entry) {
  const Token id = TokenOf(Find(entry, "id"));
  return id >= 0 ? id : NumberedToken(Text(Find(entry, "token")));
}

// {"content": [{"id", "token", "logprob", "top_logprobs": […]}]}
void ReadContent(const json::array& content, UpstreamChunk& chunk) {
  for (const json::value& entry : content) {
    UpstreamLogprob& one = chunk.logprobs.emplace_back();
    one.token = EntryToken(entry);
    one.logprob = Logprob(Find(entry, "logprob"));
    const json::value* tops = Find(entry, "top_logprobs");
    if (tops == nullptr || !tops->is_array()) continue;
    for (const json::value& top : tops->get_array()) {
      one.top.emplace_back(EntryToken(top), Logprob(Find(top, "logprob")));
    }
  }
}

// {"tokens": [text…], "token_logprobs": [number…], "top_logprobs": [{text: number}…]}
void ReadLists(const json::value& logprobs, UpstreamChunk& chunk) {
  const auto list = [&](std::string_view name) -> const json::array* {
    const json::value* value = Find(logprobs, name);
    return value == nullptr ? nullptr : value->if_array();
  };
  const json::array *tokens = list("tokens"), *numbers = list("token_logprobs"), *tops = list("top_logprobs");
  if (tokens == nullptr || numbers == nullptr) return;
  for (size_t i = 0; i < std::min(tokens->size(), numbers->size()); ++i) {
    UpstreamLogprob& one = chunk.logprobs.emplace_back();
    one.token = NumberedToken(Text(&(*tokens)[i]));
    one.logprob = Logprob(&(*numbers)[i]);
    const auto* top = tops == nullptr || i >= tops->size() ? nullptr : (*tops)[i].if_object();
    if (top == nullptr) continue;
    for (const auto& [text, number] : *top) one.top.emplace_back(NumberedToken(text), Logprob(&number));
  }
}

void ReadChoice(const json::value& choice, UpstreamChunk& chunk) {
  chunk.finish = Text(Find(choice, "finish_reason"));
  chunk.text = Text(Find(choice, "text"));
  for (const std::string_view name : {"delta", "message"}) {
    const json::value* said = Find(choice, name);
    if (said == nullptr) continue;
    chunk.text += Text(Find(*said, "content"));
    const json::value* calls = Find(*said, "tool_calls");
    chunk.calls_tool |= calls != nullptr && calls->is_array() && !calls->get_array().empty();
  }
  if (const json::value* ids = Find(choice, "token_ids"); ids != nullptr && ids->is_array()) {
    for (const json::value& id : ids->get_array()) chunk.ids.push_back(TokenOf(&id));
  }
  const json::value* logprobs = Find(choice, "logprobs");
  if (logprobs == nullptr) return;
  if (const json::value* content = Find(*logprobs, "content"); content != nullptr && content->is_array()) {
    ReadContent(content->get_array(), chunk);
  } else {
    ReadLists(*logprobs, chunk);
  }
}

Result<json::value> Parse(std::string_view text) {
  boost::system::error_code error;
  json::parse_options options;
  options.max_depth = 32;
  json::value value = json::parse(text, error, {}, options);
  if (error || !value.is_object()) {
    return Fail(Code::kUnavailable, "its answer is not a JSON object: {}", ErrorText(text));
  }
  return value;
}

}  // namespace

Result<UpstreamChunk> ParseChunk(std::string_view text) {
  PENSTOCK_ASSIGN(const json::value value, Parse(text));
  if (const json::value* error = Find(value, "error"); error != nullptr && !error->is_null()) {
    return Fail(Code::kUnavailable, "it reports an error: {}", ErrorText(text));
  }
  UpstreamChunk chunk;
  if (const json::value* usage = Find(value, "usage"); usage != nullptr && usage->is_object()) {
    chunk.usage = {.prompt = Count(Find(*usage, "prompt_tokens")),
                   .completion = Count(Find(*usage, "completion_tokens")),
                   .cached = 0};
    if (const json::value* details = Find(*usage, "prompt_tokens_details"); details != nullptr)
      chunk.usage->cached = Count(Find(*details, "cached_tokens"));
  }
  const json::value* choices = Find(value, "choices");
  if (choices == nullptr || !choices->is_array()) {
    if (chunk.usage) return chunk;
    return Fail(Code::kUnavailable, "its answer has no 'choices': {}", ErrorText(text));
  }
  if (!choices->get_array().empty()) ReadChoice(choices->get_array().front(), chunk);
  return chunk;
}

Result<std::vector<UpstreamModel>> ParseModels(std::string_view text) {
  PENSTOCK_ASSIGN(const json::value value, Parse(text));
  const json::value* data = Find(value, "data");
  if (data == nullptr || !data->is_array()) {
    return Fail(Code::kUnavailable, "its list of models has no 'data': {}", ErrorText(text));
  }
  std::vector<UpstreamModel> models;
  for (const json::value& entry : data->get_array()) {
    const std::string id = Text(Find(entry, "id"));
    if (!id.empty()) models.push_back({.id = id, .context = Count(Find(entry, "max_model_len"))});
  }
  return models;
}

std::string ErrorText(std::string_view body) {
  boost::system::error_code error;
  json::parse_options options;
  options.max_depth = 32;
  const json::value value = json::parse(body, error, {}, options);
  std::string text(body);
  if (!error) {
    const json::value* inner = Find(value, "error");
    const json::value* message = Find(inner == nullptr ? value : *inner, "message");
    const json::value* detail = Find(value, "detail");
    if (message != nullptr && message->is_string())
      text = Text(message);
    else if (inner != nullptr && inner->is_string())
      text = Text(inner);
    else if (detail != nullptr)
      text = detail->is_string() ? Text(detail) : json::serialize(*detail);
  }
  std::string shown;
  for (const char c : std::string_view(text).substr(0, kShown)) {
    const auto byte = static_cast<unsigned char>(c);
    shown += byte < 0x20 || byte == 0x7F ? ' ' : c;
  }
  std::string whole;  // it goes into messages that are UTF-8
  Utf8Stream characters;
  characters.Push(shown, whole);
  characters.Flush(whole);
  return whole.empty() ? "(nothing)" : text.size() > kShown ? whole + "…" : whole;
}

}  // namespace penstock
