// ChatRequest: what a client asks for, whatever dialect it spoke, validated once.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/tokens.h"
#include "engine/wire.pb.h"

namespace penstock::gateway {

// Marks where the message ends that an answer continues: the prompt is cut there, after rendering. As in
// transformers, its last character is a space that shows whether the template trims the message.
inline constexpr std::string_view kPrefixEnd = "\uE0F8continue\uE0F8 ";

struct ChatRequest {
  enum class Kind { kChat, kCompletion };
  // A completion's prompt: a text, or tokens that the client encoded itself.
  struct Prompt {
    std::string text;
    std::vector<Token> tokens;
    bool encoded = false;
  };

  Kind kind = Kind::kChat;
  std::string model;

  // kChat: what the model's template is rendered with. JSON: an array of {"role","content",…} with plain
  // texts as contents, and further members of the template's context, each preceded by a comma.
  std::string messages, template_members;
  std::string reasoning_effort;  // empty: not said. Ignored where the model's template does not read it
  // The answer continues the last message, whose content ends with kPrefixEnd.
  bool continues = false;
  // kCompletion: at least one; each gets `choices` of its own.
  std::vector<Prompt> prompts;
  bool echo = false;  // the answer begins with the prompt's text

  uint32_t max_tokens = 0;  // of each choice; 0: as many as the context leaves
  uint32_t choices = 1;
  wire::SamplingSpec sampling;   // but for the seed; top_logprobs −1: no logprobs
  std::optional<uint64_t> seed;  // absent: the gateway draws one
  std::vector<std::string> stop;
  std::vector<Token> stop_tokens;
  bool ignore_eos = false, include_stop = false;

  bool stream = false, include_usage = false;
  std::vector<std::string> ignored;  // names of fields that had no effect
};

}  // namespace penstock::gateway
