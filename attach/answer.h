// What an upstream's JSON says, as plain data: one chunk of a stream or one whole answer, of /v1/completions
// or /v1/chat/completions, in the dialects that servers have. Fields that nobody here reads are passed over.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/tokens.h"

namespace penstock {

struct UpstreamLogprob {
  Token token = -1;  // -1: it is not told by number
  float logprob = 0;
  std::vector<std::pair<Token, float>> top;
};

struct UpstreamUsage {
  uint32_t prompt = 0, completion = 0;
  uint32_t cached = 0;
};

struct UpstreamChunk {
  std::string text;
  std::vector<Token> ids;                 // where it tells them beside the text
  std::vector<UpstreamLogprob> logprobs;  // one a token, where they were asked for
  std::string finish;                     // "stop", "length", …; empty: it goes on
  std::optional<UpstreamUsage> usage;
  bool calls_tool = false;  // its text is not all of it
};

// Of the first choice. Errors (kUnavailable): not JSON, no object, or an error object: its words.
Result<UpstreamChunk> ParseChunk(std::string_view json);
// The ids of GET /v1/models, and how long a sequence each takes (0: not said).
struct UpstreamModel {
  std::string id;
  uint32_t context = 0;
};
Result<std::vector<UpstreamModel>> ParseModels(std::string_view json);
// What an error's body says, short and in one line, whatever it is.
std::string ErrorText(std::string_view body);

}  // namespace penstock
