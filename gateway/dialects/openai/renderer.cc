// How OpenAI's dialect writes an answer. What every chunk repeats is rendered once per request, so a token
// costs a few appends.
#include <fmt/format.h>

#include <iterator>
#include <set>

#include "gateway/common/json_out.h"
#include "gateway/dialects/openai/errors.h"
#include "gateway/dialects/openai/openai.h"
#include "text/utf8.h"

namespace penstock::gateway {
namespace {

// Characters (code points) of `text`, for text_offset.
size_t Characters(std::string_view text) {
  size_t count = 0;
  for (const char c : text) count += (static_cast<uint8_t>(c) & 0xC0) != 0x80;
  return count;
}

void AppendUsage(const AnswerUsage& usage, std::string& out) {
  JsonWriter(out)
      .Object()
      .Field("prompt_tokens", usage.prompt)
      .Field("completion_tokens", usage.completion)
      .Field("total_tokens", usage.prompt + usage.completion)
      .Key("prompt_tokens_details")
      .Object()
      .Field("cached_tokens", usage.cached)
      .EndObject()
      .Key("completion_tokens_details")
      .Object()
      .Field("reasoning_tokens", usage.reasoning)
      .EndObject()
      .EndObject();
}

// A token's text, for log-probabilities. The text of a control token is not part of the answer, so the engine
// does not send it.
std::string_view TextOf(const wire::Logprob& token, const Tokenizer* tokenizer) {
  const bool control = token.text().empty() && tokenizer != nullptr && tokenizer->IsControl(token.token());
  return control ? tokenizer->Piece(token.token()) : std::string_view(token.text());
}

// "token", "logprob", "bytes" of one token, the object left open.
void AppendToken(const wire::Logprob& token, const Tokenizer* tokenizer, std::string& out) {
  const std::string_view text = TextOf(token, tokenizer);
  out += "{\"token\":";
  AppendJsonString(text, out);
  out += ",\"logprob\":";
  AppendNumber(token.logprob(), out);
  out += ",\"bytes\":[";
  for (size_t i = 0; i < text.size(); ++i) {
    if (i > 0) out += ',';
    AppendInt(static_cast<uint8_t>(text[i]), out);
  }
  out += ']';
}

void AppendChatLogprobs(const Logprobs* logprobs, const Tokenizer* tokenizer, std::string& out) {
  if (logprobs == nullptr || logprobs->empty()) {
    out += "null";
    return;
  }
  out += "{\"content\":[";
  for (int i = 0; i < logprobs->size(); ++i) {
    const wire::Logprob& token = logprobs->Get(i);
    if (i > 0) out += ',';
    AppendToken(token, tokenizer, out);
    out += ",\"top_logprobs\":[";
    for (int k = 0; k < token.top_size(); ++k) {
      if (k > 0) out += ',';
      AppendToken(token.top(k), tokenizer, out);
      out += '}';
    }
    out += "]}";
  }
  out += "],\"refusal\":null}";
}

// What the older form calls a token. As at OpenAI, a part of a character is named by its bytes; a token
// without a text by its id.
std::string LegacyName(const wire::Logprob& token, const Tokenizer* tokenizer) {
  const std::string_view text = TextOf(token, tokenizer);
  if (text.empty()) return fmt::format("token_id:{}", token.token());
  if (ValidUtf8(text) == text) return std::string(text);
  std::string name = "bytes:";
  for (const char c : text) fmt::format_to(std::back_inserter(name), "\\x{:02x}", static_cast<uint8_t>(c));
  return name;
}

void AppendTopMap(const wire::Logprob& token, const Tokenizer* tokenizer, std::string& out) {
  out += '{';
  std::set<std::string> used;  // different tokens can have the same text
  for (int k = 0; k < token.top_size(); ++k) {
    if (k > 0) out += ',';
    std::string name = LegacyName(token.top(k), tokenizer);
    if (!used.insert(name).second) name += fmt::format(" token_id:{}", token.top(k).token());
    AppendJsonString(name, out);
    out += ':';
    AppendNumber(token.top(k).logprob(), out);
  }
  out += '}';
}

// The older form: parallel arrays. `offset`: characters of the choice before these tokens; moved past them.
void AppendCompletionLogprobs(const Logprobs* logprobs, const Tokenizer* tokenizer, size_t& offset,
                              std::string& out) {
  if (logprobs == nullptr || logprobs->empty()) {
    out += "null";
    return;
  }
  std::string values, tops, offsets;
  out += "{\"tokens\":[";
  for (int i = 0; i < logprobs->size(); ++i) {
    const wire::Logprob& token = logprobs->Get(i);
    if (i > 0) {
      for (std::string* list : {&out, &values, &tops, &offsets}) *list += ',';
    }
    AppendJsonString(LegacyName(token, tokenizer), out);
    AppendNumber(token.logprob(), values);
    AppendTopMap(token, tokenizer, tops);
    AppendInt(static_cast<int64_t>(offset), offsets);
    offset += Characters(token.text());
  }
  out.append("],\"token_logprobs\":[").append(values).append("],\"top_logprobs\":[").append(tops);
  out.append("],\"text_offset\":[").append(offsets).append("]}");
}

class OpenAiRenderer final : public Renderer {
 public:
  OpenAiRenderer(const ChatRequest& request, AnswerHead head)
      : chat_(request.kind == ChatRequest::Kind::kChat),
        include_usage_(request.include_usage),
        stream_(request.stream),
        answer_(std::move(head)) {
    OpenAiRenderer::SetFingerprint("");
  }

  void SetFingerprint(std::string_view fingerprint) override {
    head_.clear();
    JsonWriter writer(head_);
    writer.Object().Field("id", answer_.id).Key("object");
    if (chat_) {
      writer.String(stream_ ? "chat.completion.chunk" : "chat.completion");
    } else {
      writer.String("text_completion");
    }
    writer.Field("created", answer_.created).Field("model", answer_.model);
    writer.Field("system_fingerprint", fingerprint).Field("service_tier", "default");
    chunk_ = "data: " + head_ + (include_usage_ ? ",\"usage\":null" : "") + ",\"choices\":[{\"index\":";
  }

  std::string_view content_type(bool stream) const override {
    return stream ? "text/event-stream; charset=utf-8" : "application/json";
  }

  void Piece(const Delta& delta, std::string& out) override {
    if (!chat_) {
      CompletionPiece(delta, out);
      return;
    }
    if (delta.first) {
      OpenChunk(delta.choice, out);
      out += R"(,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]})"
             "\n\n";
    }
    if (!delta.reasoning.empty()) ChatPiece(delta, "reasoning_content", delta.reasoning, nullptr, out);
    const bool logprobs = delta.logprobs != nullptr && !delta.logprobs->empty();
    if (!delta.text.empty() || logprobs) ChatPiece(delta, "content", delta.text, delta.logprobs, out);
  }

  void ChoiceEnd(uint32_t choice, std::string_view finish, std::string& out) override {
    OpenChunk(choice, out);
    out += chat_ ? R"(,"delta":{},"logprobs":null,"finish_reason":")"
                 : R"(,"text":"","logprobs":null,"finish_reason":")";
    out.append(finish).append("\"}]}\n\n");
  }

  void StreamEnd(const AnswerUsage& usage, std::string& out) override {
    if (include_usage_) {
      out.append("data: ").append(head_).append(",\"choices\":[],\"usage\":");
      AppendUsage(usage, out);
      out += "}\n\n";
    }
    out += "data: [DONE]\n\n";
  }

  void StreamError(const ApiError& error, std::string& out) override {
    out += "data: ";
    AppendOpenAiError(error, out);
    out += "\n\n";
  }

  void KeepAlive(std::string_view note, std::string& out) override {
    out.append(": ").append(note).append("\n\n");
  }

  void Whole(const std::vector<ChoiceAnswer>& choices, const AnswerUsage& usage, std::string& out) override {
    out.append(head_).append(",\"choices\":[");
    for (size_t i = 0; i < choices.size(); ++i) {
      out += i == 0 ? "{\"index\":" : ",{\"index\":";
      AppendInt(static_cast<int64_t>(i), out);
      WholeChoice(choices[i], out);
    }
    out += "],\"usage\":";
    AppendUsage(usage, out);
    out += '}';
  }

 private:
  void OpenChunk(uint32_t choice, std::string& out) const {
    out += chunk_;
    AppendInt(choice, out);
  }

  void ChatPiece(const Delta& delta, std::string_view field, std::string_view text, const Logprobs* logprobs,
                 std::string& out) const {
    OpenChunk(delta.choice, out);
    out.append(",\"delta\":{\"").append(field).append("\":\"");
    AppendJsonEscaped(text, out);
    out += "\"},\"logprobs\":";
    AppendChatLogprobs(logprobs, answer_.tokenizer, out);
    out += ",\"finish_reason\":null}]}\n\n";
  }

  void CompletionPiece(const Delta& delta, std::string& out) {
    if (offsets_.size() <= delta.choice) offsets_.resize(delta.choice + 1);
    OpenChunk(delta.choice, out);
    out += ",\"text\":\"";
    AppendJsonEscaped(delta.text, out);
    out += "\",\"logprobs\":";
    AppendCompletionLogprobs(delta.logprobs, answer_.tokenizer, offsets_[delta.choice], out);
    out += ",\"finish_reason\":null}]}\n\n";
  }

  void WholeChoice(const ChoiceAnswer& choice, std::string& out) const {
    if (chat_) {
      out += R"(,"message":{"role":"assistant","content":)";
      AppendJsonString(choice.text, out);
      out += ",\"refusal\":null";
      if (!choice.reasoning.empty()) {
        out += ",\"reasoning_content\":";
        AppendJsonString(choice.reasoning, out);
      }
      out += "},\"logprobs\":";
      AppendChatLogprobs(&choice.logprobs, answer_.tokenizer, out);
    } else {
      out += ",\"text\":";
      AppendJsonString(choice.text, out);
      out += ",\"logprobs\":";
      size_t offset = 0;
      AppendCompletionLogprobs(&choice.logprobs, answer_.tokenizer, offset, out);
    }
    out.append(",\"finish_reason\":\"").append(choice.finish).append("\"}");
  }

  const bool chat_, include_usage_, stream_;
  const AnswerHead answer_;
  std::string head_;             // {"id":…,"service_tier":"default"
  std::string chunk_;            // data: {…,"choices":[{"index":
  std::vector<size_t> offsets_;  // by choice, in characters
};

}  // namespace

std::unique_ptr<Renderer> MakeOpenAiRenderer(const ChatRequest& request, const AnswerHead& head) {
  return std::make_unique<OpenAiRenderer>(request, head);
}

}  // namespace penstock::gateway
