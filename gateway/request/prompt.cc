#include "gateway/request/prompt.h"

#include <algorithm>
#include <span>

#include "gateway/common/json_out.h"
#include "gateway/request/control_texts.h"

namespace penstock::gateway {
namespace {

namespace json = boost::json;

ApiError TooLong(std::string_view at_least, size_t tokens, uint32_t context, const std::string& field) {
  ApiError error = InvalidField(
      field,
      fmt::format(
          "This model's maximum context length is {} tokens, answer included. However, your {} resulted "
          "in {}{} tokens. Please reduce the length of the {}, or choose a model with a longer context.",
          context, field, at_least, tokens, field));
  error.reason = Reason::kContextTooLong;
  return error;
}

// Refuses text that cannot fit whatever its tokens are: tokenising it could take minutes, to say the same.
std::optional<ApiError> CheckLength(const ModelText& text, size_t bytes, uint32_t context,
                                    const std::string& field) {
  if (context == 0 || text.longest_token == 0 || bytes / text.longest_token < context) return std::nullopt;
  return TooLong("at least ", bytes / text.longest_token, context, field);
}

ApiError AsField(const Error& error, const char* field) {
  ApiError api = ToApiError(error);
  api.param = field;
  return api;
}

ApiResult<std::vector<Token>> EncodePrompt(const ModelText& text, const ChatRequest::Prompt& prompt,
                                           uint32_t context) {
  if (prompt.encoded) {
    for (const Token token : prompt.tokens) {
      if (token < text.tokenizer->size()) continue;
      return std::unexpected(InvalidField(
          "prompt", fmt::format("token {} is not in the vocabulary of {}", token, text.tokenizer->size())));
    }
    return prompt.tokens;
  }
  if (auto error = CheckLength(text, prompt.text.size(), context, "prompt"))
    return std::unexpected(*std::move(error));
  auto tokens = text.tokenizer->Encode(prompt.text, true);
  if (!tokens) return std::unexpected(AsField(tokens.error(), "prompt"));
  // A client that wrote the beginning itself does not get it twice.
  if (!std::ranges::equal(text.before,
                          std::span(*tokens).first(std::min(tokens->size(), text.before.size()))))
    tokens->insert(tokens->begin(), text.before.begin(), text.before.end());
  tokens->insert(tokens->end(), text.after.begin(), text.after.end());
  return *std::move(tokens);
}

std::string TextOf(const ModelText& text, const ChatRequest::Prompt& prompt) {
  if (!prompt.encoded) return prompt.text;
  std::string out;
  for (const Token token : prompt.tokens) out += text.tokenizer->Bytes(token);
  return out;
}

std::optional<ApiError> CheckTokens(const ModelText& text, const ChatRequest& request) {
  const auto unknown = [&](const auto& tokens) {
    return std::any_of(tokens.begin(), tokens.end(), [&](Token t) { return t >= text.tokenizer->size(); });
  };
  if (unknown(request.sampling.bias_tokens())) {
    return InvalidField("logit_bias",
                        fmt::format("'logit_bias' names a token that is not in the vocabulary of {}",
                                    text.tokenizer->size()));
  }
  return std::nullopt;
}

// Cuts a prompt where the message ends that the answer continues, as transformers' continue_final_message
// does. Error: the template does not show the message.
std::optional<ApiError> CutAtPrefixEnd(std::string& rendered) {
  constexpr std::string_view kTrimmed = kPrefixEnd.substr(0, kPrefixEnd.size() - 1);
  const size_t end = rendered.rfind(kTrimmed);
  if (end == std::string::npos) {
    return InvalidField(
        "messages", "the model's template does not show the last message, so the answer cannot continue it");
  }
  const bool trims = !std::string_view(rendered).substr(end).starts_with(kPrefixEnd);
  rendered.resize(end);
  if (trims) rendered.resize(rendered.find_last_not_of(" \t\n\r\f\v") + 1);
  return std::nullopt;
}

// Adds a prompt, or says why it cannot be answered.
std::optional<ApiError> Append(std::vector<Token> tokens, uint32_t context, const std::string& field,
                               EncodedPrompts& encoded) {
  if (tokens.empty()) return InvalidField(field, fmt::format("'{}' has no tokens", field));
  if (context > 0 && tokens.size() >= context) return TooLong("", tokens.size(), context, field);
  encoded.prompts.push_back(std::move(tokens));
  return std::nullopt;
}

// Where the answer continues the last message.
std::optional<ApiError> Cut(const ChatRequest& request, std::string& rendered) {
  return request.continues ? CutAtPrefixEnd(rendered) : std::nullopt;
}

// A chat rendered with marks (control_texts.h) and these taken back.
class MarkedRendering {
 public:
  MarkedRendering(const ModelText& text, const ChatRequest& request, const json::object& context,
                  const Marks& marks)
      : text_(text), request_(request), context_(context), marks_(marks) {}

  ApiResult<Rendering> With(Marking marking) const {
    auto rendered = text_.chat->Render(Marked(context_, text_.controls, marks_, marking));
    if (!rendered) return std::unexpected(AsField(rendered.error(), "messages"));
    if (auto error = Cut(request_, *rendered)) return std::unexpected(*std::move(error));
    return Unmarked(*rendered, text_.controls, marks_);
  }

 private:
  const ModelText& text_;
  const ChatRequest& request_;
  const json::object& context_;
  const Marks& marks_;
};

// Whether both have the same control tokens in the same order.
bool SameControls(const Rendering& one, const Rendering& other) {
  return std::ranges::equal(one.controls, other.controls, [&](const auto& a, const auto& b) {
    return one.text.substr(a.begin, a.end - a.begin) == other.text.substr(b.begin, b.end - b.begin);
  });
}

// Where every first character of a control token is marked, no text of the request can begin one,
// whatever the template does. If that changes what the template writes (it looks for "<think>" in an answer,
// say), only whole texts of control tokens are marked; that counts only if the template writes the same text
// as without marks, and the same control tokens as with every mark. Otherwise the first rendering is the
// prompt.
ApiResult<Rendering> RenderMarked(const ModelText& text, const ChatRequest& request, std::string plain) {
  if (auto error = Cut(request, plain)) return std::unexpected(*std::move(error));
  const std::string context_json = TemplateContext(text, request);
  const auto marks = ChooseMarks(text.controls, context_json);
  if (!marks) {
    return std::unexpected(
        InvalidField("messages",
                     "the messages contain every private-use character of Unicode, and the text of a control "
                     "token; leave one of them out"));
  }
  const json::value context = json::parse(context_json);
  const MarkedRendering render(text, request, context.get_object(), *marks);
  auto safe = render.With(Marking::kFirsts);
  if (!safe || safe->text == plain) return safe;
  auto whole = render.With(Marking::kWhole);
  if (whole && whole->text == plain && SameControls(*whole, *safe)) return whole;
  return safe;
}

ApiResult<EncodedPrompts> EncodeChat(const ModelText& text, const ChatRequest& request, Rendering rendered,
                                     uint32_t context) {
  if (auto error = CheckTokens(text, request)) return std::unexpected(*std::move(error));
  if (auto error = CheckLength(text, rendered.text.size(), context, "messages"))
    return std::unexpected(*std::move(error));
  EncodedPrompts encoded;
  encoded.start = ReasoningSplitter::StartState(text.thinks, rendered.text);
  auto tokens = rendered.theirs ? text.tokenizer->EncodeControls(rendered.text, rendered.controls)
                                : text.tokenizer->Encode(rendered.text, true);
  if (!tokens) return std::unexpected(AsField(tokens.error(), "messages"));
  if (auto error = Append(*std::move(tokens), context, "messages", encoded))
    return std::unexpected(*std::move(error));
  return encoded;
}

}  // namespace

int64_t EncodedPrompts::tokens() const {
  size_t sum = 0;
  for (const auto& prompt : prompts) sum += prompt.size();
  return static_cast<int64_t>(sum);
}

void NameIgnored(const ModelText& text, ChatRequest& request) {
  if (!request.reasoning_effort.empty() && !text.reads_effort)
    request.ignored.emplace_back("reasoning_effort");
}

std::string TemplateContext(const ModelText& text, const ChatRequest& request) {
  std::string context = "{\"messages\":";
  context.append(request.messages).append(",\"add_generation_prompt\":");
  context.append(request.continues ? "false" : "true").append(",\"tools\":null,\"bos_token\":");
  AppendJsonString(text.bos_token, context);
  context += ",\"eos_token\":";
  AppendJsonString(text.eos_token, context);
  if (text.reads_effort && !request.reasoning_effort.empty()) {
    context += ",\"reasoning_effort\":";
    AppendJsonString(request.reasoning_effort, context);
  }
  context.append(request.template_members).append("}");
  return context;
}

bool NeedsMarks(const ModelText& text, const ChatRequest& request, ControlTokens policy) {
  if (policy == ControlTokens::kParse || text.controls.empty()) return false;
  return text.controls.MayAppearIn(request.messages, text.rewrites) ||
         text.controls.MayAppearIn(request.template_members, text.rewrites) ||
         text.controls.MayAppearIn(request.reasoning_effort, text.rewrites);
}

ApiResult<EncodedPrompts> EncodeRendered(const ModelText& text, const ChatRequest& request,
                                         Result<std::string> rendered, uint32_t context) {
  if (!rendered) return std::unexpected(AsField(rendered.error(), "messages"));
  if (auto error = Cut(request, *rendered)) return std::unexpected(*std::move(error));
  return EncodeChat(text, request, {.text = *std::move(rendered)}, context);
}

ApiResult<EncodedPrompts> EncodePrompts(const ModelText& text, const ChatRequest& request, uint32_t context,
                                        ControlTokens policy) {
  if (request.kind == ChatRequest::Kind::kChat) {
    if (!text.chat) {
      return std::unexpected(InvalidField(
          "model", fmt::format("the model '{}' has no chat template; use /v1/completions", request.model)));
    }
    auto rendered = text.chat->Render(TemplateContext(text, request));
    if (!rendered || !NeedsMarks(text, request, policy))
      return EncodeRendered(text, request, std::move(rendered), context);
    auto marked = RenderMarked(text, request, *std::move(rendered));
    if (!marked) return std::unexpected(std::move(marked).error());
    return EncodeChat(text, request, *std::move(marked), context);
  }
  if (auto error = CheckTokens(text, request)) return std::unexpected(*std::move(error));
  EncodedPrompts encoded;
  for (const ChatRequest::Prompt& prompt : request.prompts) {
    auto tokens = EncodePrompt(text, prompt, context);
    if (!tokens) return std::unexpected(std::move(tokens).error());
    if (auto error = Append(*std::move(tokens), context, "prompt", encoded))
      return std::unexpected(*std::move(error));
    if (request.echo) encoded.echoes.push_back(TextOf(text, prompt));
  }
  return encoded;
}

wire::Submit ToSubmit(const ModelText& text, const ChatRequest& request, std::vector<Token> prompt,
                      size_t index, uint64_t seed) {
  wire::Submit submit;
  submit.set_model(request.model);
  submit.mutable_prompt()->Add(prompt.begin(), prompt.end());
  submit.set_choices(request.choices);
  *submit.mutable_sampling() = request.sampling;
  submit.mutable_sampling()->set_seed(seed + index * request.choices);  // choice i draws from seed + i
  for (const std::string& stop : request.stop) submit.add_stop(stop);
  submit.mutable_stop_tokens()->Add(request.stop_tokens.begin(), request.stop_tokens.end());
  // A client's own stop tokens end the answer even where the model's are to be ignored.
  if (!request.ignore_eos) submit.mutable_stop_tokens()->Add(text.end_tokens.begin(), text.end_tokens.end());
  submit.set_ignore_eos(request.ignore_eos && request.stop_tokens.empty());
  submit.set_include_stop(request.include_stop);
  return submit;
}

}  // namespace penstock::gateway
