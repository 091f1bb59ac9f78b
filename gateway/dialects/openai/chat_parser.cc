// /v1/chat/completions: from bytes to a ChatRequest.
#include <array>

#include "gateway/common/json_out.h"
#include "gateway/dialects/openai/fields.h"
#include "gateway/dialects/openai/openai.h"

namespace penstock::gateway {
namespace {

std::string Indexed(std::string_view name, size_t index) {
  return fmt::format("{}[{}]", name, index);
}

// A content that is text: a string, or an array of text parts, joined by line breaks.
std::optional<std::string> ReadContent(Fields& message, const std::string& path) {
  const json::value* const content = message.Any("content");
  if (content == nullptr) return std::nullopt;
  if (content->is_string()) return std::string(ViewOf(content->get_string()));
  if (!content->is_array()) {
    message.Fault("content", fmt::format("'{}content' must be a string or an array of text parts, not {}",
                                         path, KindOf(*content)));
    return std::nullopt;
  }
  std::string text;
  for (size_t i = 0; i < content->get_array().size(); ++i) {
    const std::string part_name = Indexed("content", i);
    const json::value& part = content->get_array()[i];
    if (!part.is_object()) {
      message.Fault(part_name,
                    fmt::format("'{}{}' must be an object, not {}", path, part_name, KindOf(part)));
      return std::nullopt;
    }
    Fields fields(part.get_object(), path + part_name + ".");
    const auto type = fields.String("type");
    if (type && *type != "text") {
      message.Unsupported(part_name + ".type",
                          fmt::format("content of type '{}' is not supported; only 'text' is", *type));
      return std::nullopt;
    }
    const auto words = fields.String("text");
    if (!words) fields.Fault("text", fmt::format("'{}{}.text' is missing", path, part_name));
    if (fields.fault()) {
      message.Fault(*fields.fault());
      return std::nullopt;
    }
    if (i > 0) text += '\n';
    text += *words;
  }
  return text;
}

std::string_view ReadRole(Fields& message) {
  const auto role = message.String("role");
  if (!role) {
    message.Fault("role", "a message's 'role' is missing: system, user or assistant");
    return {};
  }
  if (*role == "developer") return "system";
  for (const std::string_view known : {"system", "user", "assistant"}) {
    if (*role == known) return known;
  }
  if (*role == "tool" || *role == "function") {
    message.Unsupported("role", fmt::format("the role '{}' is not supported yet: tools are not", *role));
  } else {
    message.Fault("role", fmt::format("'{}' is no role: system, developer, user or assistant", *role));
  }
  return {};
}

void AppendMember(std::string_view name, std::string_view text, std::string& out) {
  out += ",\"";
  out += name;
  out += "\":";
  AppendJsonString(text, out);
}

void ReadMessage(const json::value& value, size_t index, Fields& fields, ChatRequest& request) {
  const std::string path = Indexed("messages", index);
  if (!value.is_object()) {
    fields.Fault(path, fmt::format("'{}' must be an object, not {}", path, KindOf(value)));
    return;
  }
  Fields message(value.get_object(), path + ".");
  const std::string_view role = ReadRole(message);
  const auto content = ReadContent(message, path + ".");
  auto reasoning = message.String("reasoning_content");
  if (const auto other = message.String("reasoning"); other && !reasoning) reasoning = other;
  for (const std::string_view name : {"tool_calls", "function_call", "prefix", "partial"}) {
    const json::value* const unserved = message.Any(name);
    if (unserved != nullptr && !IsEmpty(*unserved)) {
      message.Unsupported(name, fmt::format("'{}.{}' is not supported yet; leave it out", path, name));
    }
  }
  for (const std::string_view name : {"name", "refusal", "annotations", "audio", "cache_control", "id"}) {
    message.Skip(name);
  }
  if (!content && role != "assistant") {
    message.Fault("content", fmt::format("'{}.content' is missing", path));
  }
  if (message.fault()) {
    fields.Fault(*message.fault());
    return;
  }
  for (std::string& name : message.Ignored()) request.ignored.push_back(std::move(name));
  request.messages += index == 0 ? "{\"role\":\"" : ",{\"role\":\"";
  request.messages.append(role).append("\"");
  AppendMember("content", content.value_or(""), request.messages);
  if (reasoning && role == "assistant") AppendMember("reasoning_content", *reasoning, request.messages);
  request.messages += '}';
}

void ReadMessages(Fields& fields, ChatRequest& request) {
  const json::array* const messages = fields.Array("messages");
  if (messages == nullptr || messages->empty()) {
    fields.Fault("messages", "'messages' is missing or empty; it must hold at least one message");
    return;
  }
  request.messages = "[";
  for (size_t i = 0; i < messages->size() && !fields.fault(); ++i) {
    ReadMessage((*messages)[i], i, fields, request);
  }
  request.messages += ']';
}

void AppendTemplateMember(std::string_view name, const json::value& value, ChatRequest& request) {
  request.template_members += ',';
  AppendJsonString(name, request.template_members);
  request.template_members += ':';
  request.template_members += json::serialize(value);
}

// Whether the model returns its reasoning: chat_template_kwargs (vLLM), enable_thinking (DashScope) and
// reasoning_effort (OpenAI), the more explicit one first. Only "none" of the efforts has a meaning for
// models that either think or do not.
void ReadThinking(Fields& fields, ChatRequest& request) {
  bool decided = false;
  if (const json::object* const kwargs = fields.Object("chat_template_kwargs")) {
    for (const auto& [key, value] : *kwargs) {
      const std::string_view name(key.data(), key.size());
      for (const std::string_view ours :
           {"messages", "tools", "add_generation_prompt", "bos_token", "eos_token"}) {
        if (name == ours)
          fields.Fault("chat_template_kwargs", fmt::format("'chat_template_kwargs.{}' cannot be set", name));
      }
      AppendTemplateMember(name, value, request);
      decided |= name == "enable_thinking";
    }
  }
  const auto enable = fields.Bool("enable_thinking");
  if (enable && !decided) AppendTemplateMember("enable_thinking", *enable, request);
  decided |= enable.has_value();
  if (const auto preserve = fields.Bool("preserve_thinking")) {
    AppendTemplateMember("preserve_thinking", *preserve, request);
  }
  const auto effort = fields.String("reasoning_effort");
  if (effort && *effort == "none") {
    if (!decided) AppendTemplateMember("enable_thinking", false, request);
  } else {
    fields.Ignore("reasoning_effort");
  }
  fields.Ignore("thinking_budget");
}

void ReadChatLogprobs(Fields& fields, ChatRequest& request) {
  const bool wanted = fields.Bool("logprobs").value_or(false);
  const auto top = fields.Integer("top_logprobs", 0, kMaxTopLogprobs);
  if (top && *top > 0 && !wanted) {
    fields.Fault("top_logprobs", "'top_logprobs' needs \"logprobs\": true");
  }
  if (wanted) request.sampling.set_top_logprobs(static_cast<int32_t>(top.value_or(0)));
}

void RefuseUnless(Fields& fields, std::string_view name, std::initializer_list<std::string_view> allowed) {
  const json::value* const value = fields.Any(name);
  if (value == nullptr) return;
  if (value->is_string()) {
    for (const std::string_view word : allowed) {
      if (ViewOf(value->get_string()) == word) return;
    }
  }
  fields.Unsupported(
      name, fmt::format("'{}' {} is not supported yet; leave it out", name, json::serialize(*value)));
}

void RefuseUnservedOfChat(Fields& fields) {
  RefuseUnserved(fields);
  RefuseUnless(fields, "tool_choice", {"none", "auto"});
  RefuseUnless(fields, "function_call", {"none", "auto"});
  ReadResponseFormat(fields);
  if (const json::array* const modalities = fields.Array("modalities")) {
    for (const json::value& modality : *modalities) {
      if (!modality.is_string() || ViewOf(modality.get_string()) != "text") {
        fields.Unsupported("modalities", "only the modality 'text' is supported");
      }
    }
  }
  const auto prompted = fields.Bool("add_generation_prompt");
  if (prompted && !*prompted)
    fields.Unsupported("add_generation_prompt", "'add_generation_prompt' must be true");
}

}  // namespace

ApiResult<ChatRequest> ParseChat(std::string_view body) {
  std::array<unsigned char, 16 << 10> stack;  // most requests need no more
  json::monotonic_resource memory(stack.data(), stack.size());
  const auto parsed = ParseJsonObject(body, &memory);
  if (!parsed) return std::unexpected(parsed.error());
  Fields fields(parsed->get_object());
  ChatRequest request;
  ReadModel(fields, request);
  ReadMessages(fields, request);
  ReadLimits(fields, request, 0);
  ReadSampling(fields, request);
  ReadChatLogprobs(fields, request);
  ReadStop(fields, request);
  ReadStream(fields, request);
  ReadThinking(fields, request);
  RefuseUnservedOfChat(fields);
  SkipHarmless(fields);
  return FinishReading(fields, std::move(request));
}

}  // namespace penstock::gateway
