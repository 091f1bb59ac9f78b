// The OpenAI dialect: /v1/chat/completions and /v1/completions in, chunks or one object out.
//
// What is served, ignored and refused of OpenAI's API, and of what clients of vLLM, DashScope and llama.cpp
// send beside it, is docs/api.md; the rule: a field that would change the answer and is not served is
// refused by name, a field that would not is ignored and named in `x-penstock-ignored`.
// Source: OpenAI's openapi.yaml.
#pragma once

#include <memory>
#include <string_view>

#include "gateway/request/answer.h"
#include "gateway/request/chat_request.h"

namespace penstock::gateway {

// Errors: 400, with the field's path as `param` and its way out as message.
ApiResult<ChatRequest> ParseChat(std::string_view body);
ApiResult<ChatRequest> ParseCompletion(std::string_view body);

std::unique_ptr<Renderer> MakeOpenAiRenderer(const ChatRequest& request, const AnswerHead& head);

}  // namespace penstock::gateway
