// From a ChatRequest to the exact tokens that an engine gets.
#pragma once

#include <string>
#include <vector>

#include "gateway/common/api_error.h"
#include "gateway/request/chat_request.h"
#include "gateway/request/models.h"
#include "gateway/request/reasoning.h"

namespace penstock::gateway {

struct EncodedPrompts {
  std::vector<std::vector<Token>> prompts;  // one for a chat
  std::vector<std::string> echoes;          // each prompt's text, if the request asks for an echo
  ReasoningSplitter::State start = ReasoningSplitter::State::kOff;
  int64_t tokens() const;
};

// Renders the template and encodes. `context`: the longest sequence; 0: unknown.
// Errors: 400: the model cannot chat, the template refuses the messages, a token is not in the vocabulary,
// or the prompt leaves no room for an answer (context_length_exceeded; without tokenising it where its size
// alone says so). Threads: any. May take seconds.
ApiResult<EncodedPrompts> EncodePrompts(const ModelText& text, const ChatRequest& request, uint32_t context);

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
