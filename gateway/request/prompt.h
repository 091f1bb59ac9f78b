// From a ChatRequest to the exact tokens that an engine gets.
#pragma once

#include <string>
#include <vector>

#include "gateway/common/api_error.h"
#include "gateway/request/chat_request.h"
#include "gateway/request/models.h"
#include "gateway/request/reasoning.h"

namespace penstock::gateway {

// What the text of a control token in a chat's messages becomes. Completions are always parsed.
enum class ControlTokens : uint8_t {
  kText,   // text: only the template writes control tokens
  kParse,  // the control token, as in transformers
};
// Whether this chat must be rendered again to see where its texts came to stand: EncodePrompts then does it.
bool NeedsMarks(const ModelText& text, const ChatRequest& request, ControlTokens policy);

struct EncodedPrompts {
  std::vector<std::vector<Token>> prompts;  // one for a chat
  std::vector<std::string> echoes;          // each prompt's text, if the request asks for an echo
  ReasoningSplitter::State start = ReasoningSplitter::State::kOff;
  int64_t tokens() const;
};

// Adds to request.ignored the fields that this model's template does not read.
void NameIgnored(const ModelText& text, ChatRequest& request);

// Renders the template and encodes. `context`: the longest sequence; 0: unknown.
// Errors: 400: the model cannot chat, the template refuses the messages, a token is not in the vocabulary,
// or the prompt leaves no room for an answer (context_length_exceeded; without tokenising it where its size
// alone says so). Threads: any. May take seconds.
ApiResult<EncodedPrompts> EncodePrompts(const ModelText& text, const ChatRequest& request, uint32_t context,
                                        ControlTokens policy = ControlTokens::kText);

// The parts of EncodePrompts for a chat whose template is rendered elsewhere: what the template gets, and
// what follows. EncodeRendered takes time in proportion to `rendered`.
std::string TemplateContext(const ModelText& text, const ChatRequest& request);
ApiResult<EncodedPrompts> EncodeRendered(const ModelText& text, const ChatRequest& request,
                                         Result<std::string> rendered, uint32_t context);

// The message to the engine for prompt number `index`; the caller fills in `request`, `credits`, `max_tokens`
// and the scope.
wire::Submit ToSubmit(const ModelText& text, const ChatRequest& request, std::vector<Token> prompt,
                      size_t index, uint64_t seed);

}  // namespace penstock::gateway
