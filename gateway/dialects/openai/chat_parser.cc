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

// `prefix` (DeepSeek, Mistral) and `partial` (DashScope) of the last message say what continue_final_message
// says (vLLM, transformers).
void ReadPrefix(Fields& message, const std::string& path, std::string_view role, bool is_last,
                ChatRequest& request) {
  for (const std::string_view name : {"prefix", "partial"}) {
    if (!message.Bool(name).value_or(false)) continue;
    if (!is_last)
      message.Fault(name, fmt::format("'{}.{}' is only possible in the last message", path, name));
    request.continues = true;
  }
  if (is_last && request.continues && role != "assistant") {
    message.Fault(
        "role",
        fmt::format("'{}.role' must be 'assistant', because the answer continues this message", path));
  }
}

// Whether the answer continues the last message. As at vLLM, a prompt for a new message contradicts it.
void ReadContinuation(Fields& fields, ChatRequest& request) {
  request.continues = fields.Bool("continue_final_message").value_or(false);
  const auto prompted = fields.Bool("add_generation_prompt");
  if (request.continues && prompted.value_or(false)) {
    fields.Fault("add_generation_prompt",
                 "'add_generation_prompt' and 'continue_final_message' cannot both be true");
  } else if (!request.continues && prompted && !*prompted) {
    fields.Unsupported("add_generation_prompt",
                       "'add_generation_prompt' can be false only together with 'continue_final_message'");
  }
}

void ReadMessage(const json::value& value, size_t index, bool is_last, Fields& fields, ChatRequest& request) {
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
  for (const std::string_view name : {"tool_calls", "function_call"}) {
    const json::value* const unserved = message.Any(name);
    const bool empty = unserved == nullptr || (unserved->is_array() && unserved->get_array().empty());
    if (!empty)
      message.Unsupported(name, fmt::format("'{}.{}' is not supported yet; leave it out", path, name));
  }
  for (const std::string_view name : {"name", "refusal", "annotations", "audio", "cache_control", "id"}) {
    message.Skip(name);
  }
  if (!content && role != "assistant") {
    message.Fault("content", fmt::format("'{}.content' is missing", path));
  }
  ReadPrefix(message, path, role, is_last, request);
  if (message.fault()) {
    fields.Fault(*message.fault());
    return;
  }
  for (std::string& name : message.Ignored()) request.ignored.push_back(std::move(name));
  request.messages += index == 0 ? "{\"role\":\"" : ",{\"role\":\"";
  request.messages.append(role).append("\"");
  std::string text = content.value_or("");
  if (is_last && request.continues) text += kPrefixEnd;
  AppendMember("content", text, request.messages);
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
    ReadMessage((*messages)[i], i, i + 1 == messages->size(), fields, request);
  }
  request.messages += ']';
}

void AppendTemplateMember(std::string_view name, const json::value& value, ChatRequest& request) {
  request.template_members += ',';
  AppendJsonString(name, request.template_members);
  request.template_members += ':';
  request.template_members += json::serialize(value);
}

// Members of the template's context, by the name of their field.
void ReadTemplateMembers(Fields& fields, ChatRequest& request) {
  const json::object* const members = fields.Object("chat_template_kwargs");
  if (members == nullptr) return;
  for (const auto& [key, value] : *members) {
    const std::string_view name(key.data(), key.size());
    for (const std::string_view ours :
         {"messages", "tools", "add_generation_prompt", "bos_token", "eos_token"}) {
      if (name == ours)
        fields.Fault("chat_template_kwargs", fmt::format("'chat_template_kwargs.{}' cannot be set", name));
    }
    AppendTemplateMember(name, value, request);
  }
}

// Whether the model thinks before it answers: chat_template_kwargs (vLLM), enable_thinking (DashScope), think
// (Ollama), thinking (DeepSeek, GLM) and reasoning_effort (OpenAI) say the same; the first that is there
// counts.
std::optional<bool> WantsThinking(Fields& fields) {
  const auto enable = fields.Bool("enable_thinking"), think = fields.Bool("think");
  const json::object* const thinking = fields.Object("thinking");
  if (enable || think) return enable ? enable : think;
  if (thinking == nullptr) return std::nullopt;
  Fields inner(*thinking, "thinking.");
  const auto type = inner.String("type");
  if (type && (*type == "enabled" || *type == "disabled")) return *type == "enabled";
  fields.Unsupported("thinking.type", "'thinking.type' must be 'enabled' or 'disabled'");
  return std::nullopt;
}

void ReadThinking(Fields& fields, ChatRequest& request) {
  const json::object* const members = fields.Object("chat_template_kwargs");
  const bool decided = members != nullptr && members->contains("enable_thinking");
  auto thinks = WantsThinking(fields);
  const auto effort = fields.String("reasoning_effort");
  if (effort && *effort == "none") {
    if (!thinks) thinks = false;
  } else if (effort && !(members != nullptr && members->contains("reasoning_effort"))) {
    request.reasoning_effort = *effort;
  }
  if (thinks && !decided) AppendTemplateMember("enable_thinking", *thinks, request);
  if (const auto preserve = fields.Bool("preserve_thinking")) {
    AppendTemplateMember("preserve_thinking", *preserve, request);
  }
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

// Fields of which one value is served.
void ReadChoices(Fields& fields) {
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
  ReadContinuation(fields, request);
  ReadMessages(fields, request);
  ReadLimits(fields, request, 0);
  ReadSampling(fields, request);
  ReadChatLogprobs(fields, request);
  ReadStop(fields, request);
  ReadStream(fields, request);
  ReadTemplateMembers(fields, request);
  ReadThinking(fields, request);
  ReadChoices(fields);
  return FinishReading(fields, Endpoint::kChat, std::move(request));
}

}  // namespace penstock::gateway
