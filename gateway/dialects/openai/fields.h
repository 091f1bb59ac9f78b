// The fields that OpenAI's two generation endpoints share.
#pragma once

#include "gateway/common/json_fields.h"
#include "gateway/dialects/openai/field_table.h"
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

inline constexpr int64_t kMaxChoices = 16, kMaxTopLogprobs = 20;

// What no reader above has read, by the table; then the request, or the first fault.
ApiResult<ChatRequest> FinishReading(Fields& fields, Endpoint endpoint, ChatRequest request);

}  // namespace penstock::gateway
