// The fields that OpenAI's two generation endpoints share.
#pragma once

#include "gateway/common/json_fields.h"
#include "gateway/request/chat_request.h"

namespace penstock::gateway {

inline std::string_view ViewOf(const json::string& text) {
  return {text.data(), text.size()};
}

// Each reads its fields into `request`, or leaves the fault in `fields`.
void ReadModel(Fields& fields, ChatRequest& request);
// `default_tokens`: max_tokens when absent; 0: whatever the context leaves.
void ReadLimits(Fields& fields, ChatRequest& request, int64_t default_tokens);
void ReadSampling(Fields& fields, ChatRequest& request);
void ReadStop(Fields& fields, ChatRequest& request);
void ReadStream(Fields& fields, ChatRequest& request);
void ReadResponseFormat(Fields& fields);

// Passes over fields that say something about the request and nothing about the answer.
void SkipHarmless(Fields& fields);
// Refuses by name the fields that would change the answer; absent, null, empty, false or 0 is fine.
void RefuseUnserved(Fields& fields);
bool IsEmpty(const json::value& value);

inline constexpr int64_t kMaxChoices = 8, kMaxTopLogprobs = 20;

ApiResult<ChatRequest> FinishReading(const Fields& fields, ChatRequest request);

}  // namespace penstock::gateway
