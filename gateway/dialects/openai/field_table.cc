#include "gateway/dialects/openai/field_table.h"

#include <algorithm>
#include <array>

namespace penstock::gateway {
namespace {

using enum Endpoint;
using enum FieldRow::Treatment;

// One row per field, in the order of docs/api.md.
constexpr auto kTable = std::to_array<FieldRow>({
    {kBoth, "model", kHonoured, {}, "needed"},
    {kChat, "messages", kHonoured, {}, "needed; see below"},
    {kCompletions, "prompt", kHonoured, {}, "needed; a text, token ids, or an array of up to 32 of either"},
    {kBoth, "max_tokens", kHonoured, {}, "1 or more; see below"},
    {kBoth, "max_completion_tokens", kHonoured, {}, "the same; wins over `max_tokens`"},
    {kBoth, "n", kHonoured, {}, "1 to 16"},
    {kBoth, "temperature", kHonoured, {}, "0 to 2; 0: always the likeliest token"},
    {kBoth, "top_p", kHonoured, {}, "0 to 1"},
    {kBoth, "top_k", kHonoured, {}, "-1 or 0: off"},
    {kBoth, "min_p", kHonoured, {}, "0 to 1"},
    {kBoth, "seed", kHonoured, {}, "any integer"},
    {kBoth, "stop", kHonoured, {}, "a string or up to 16; also a control token's text, such as `<|im_end|>`"},
    {kBoth, "stop_token_ids", kHonoured, {}, "up to 1,024 token ids"},
    {kBoth, "ignore_eos", kHonoured, {}, "true or false"},
    {kBoth, "include_stop_str_in_output", kHonoured, {}, "true or false"},
    {kBoth, "logit_bias", kHonoured, {}, "up to 1,024 token ids, each with -100 to 100"},
    {kBoth, "frequency_penalty", kHonoured, {}, "-2 to 2"},
    {kBoth, "presence_penalty", kHonoured, {}, "-2 to 2"},
    {kBoth, "repetition_penalty", kHonoured, {}, "0.01 to 10, over prompt and answer"},
    {kBoth, "repeat_penalty", kHonoured, {}, "another name of `repetition_penalty` (llama.cpp, Ollama)"},
    {kBoth, "stream", kHonoured, {}, "true or false"},
    {kBoth, "stream_options", kHonoured, {}, "`include_usage`"},
    {kChat, "logprobs", kHonoured, {}, "true or false"},
    {kChat, "top_logprobs", kHonoured, {}, "0 to 20"},
    {kCompletions, "logprobs", kHonoured, {}, "0 to 20"},
    {kCompletions, "echo", kHonoured, {}, "true or false; not together with `logprobs`"},
    {kCompletions, "best_of", kHonoured, {}, "the same as `n`"},
    {kBoth, "response_format", kHonoured, {}, "type `text`"},
    {kChat, "chat_template_kwargs", kHonoured, {}, "variables for the model's template"},
    {kChat, "enable_thinking", kHonoured, {}, "true or false, where the model's template knows it"},
    {kChat, "think", kHonoured, {}, "another name of `enable_thinking` (Ollama)"},
    {kChat, "thinking", kHonoured, {}, "`{\"type\": \"enabled\"}` or `disabled`: the same (DeepSeek, GLM)"},
    {kChat, "preserve_thinking", kHonoured, {}, "true or false, where the model's template knows it"},
    {kChat,
     "reasoning_effort",
     kHonoured,
     {},
     "`none` turns thinking off; other words are given to the model's template"},
    {kChat, "continue_final_message", kHonoured, {}, "true: the answer continues the last message"},
    {kChat, "add_generation_prompt", kHonoured, {}, "true, or false together with `continue_final_message`"},
    {kChat, "tool_choice", kHonoured, {}, "`auto` or `none`"},
    {kChat, "function_call", kHonoured, {}, "`auto` or `none`"},
    {kChat, "modalities", kHonoured, {}, "`[\"text\"]`"},

    {kChat, "tools", kRefused},
    {kChat, "functions", kRefused},
    {kChat, "audio", kRefused},
    {kChat, "web_search_options", kRefused},
    {kChat, "verbosity", kRefused, "\"medium\"", "say in a message how long the answer shall be"},
    {kChat, "documents", kRefused, {}, "put them into a message"},
    {kChat, "chat_template", kRefused, {}, "the model's own template is used"},
    {kChat, "mm_processor_kwargs", kRefused},
    {kChat, "enable_search", kRefused},
    {kChat, "translation_options", kRefused},
    {kCompletions, "suffix", kRefused},
    {kBoth, "structured_outputs", kRefused},
    {kBoth, "guided_json", kRefused},
    {kBoth, "guided_regex", kRefused},
    {kBoth, "guided_choice", kRefused},
    {kBoth, "guided_grammar", kRefused},
    {kBoth, "json_schema", kRefused},
    {kBoth, "grammar", kRefused},
    {kBoth, "regex", kRefused},
    {kBoth, "ebnf", kRefused},
    {kBoth, "format", kRefused},
    {kBoth, "min_tokens", kRefused},
    {kBoth, "bad_words", kRefused},
    {kBoth, "allowed_token_ids", kRefused},
    {kBoth, "stop_regex", kRefused, {}, "use 'stop'"},
    {kBoth, "use_beam_search", kRefused},
    {kBoth, "length_penalty", kRefused, "1"},
    {kBoth, "prompt_logprobs", kRefused},
    {kBoth, "n_probs", kRefused, {}, "use 'logprobs'"},
    {kBoth, "return_tokens_as_token_ids", kRefused},
    {kBoth, "truncate_prompt_tokens", kRefused, {}, "shorten the prompt"},
    {kBoth, "skip_special_tokens", kRefused, "true"},
    {kChat, "add_special_tokens", kRefused, "false"},
    {kCompletions, "add_special_tokens", kRefused, "true"},
    {kChat, "separate_reasoning", kRefused, "true"},
    {kChat, "include_reasoning", kRefused, "true"},
    {kChat, "reasoning_format", kRefused, "\"auto\",\"deepseek\"", "the reasoning is in 'reasoning_content'"},
    {kBoth, "logits_processors", kRefused},
    {kBoth, "custom_logit_processor", kRefused},
    {kBoth, "lora", kRefused},
    {kBoth, "lora_path", kRefused},
    {kBoth, "mirostat", kRefused},
    {kBoth, "typical_p", kRefused, "1"},
    {kBoth, "typical", kRefused, "1"},
    {kBoth, "tfs_z", kRefused, "1"},
    {kBoth, "top_a", kRefused},
    {kBoth, "top_n_sigma", kRefused, "0,-1"},
    {kBoth, "xtc_probability", kRefused},
    {kBoth, "dry_multiplier", kRefused},
    {kBoth, "dynatemp_range", kRefused},
    {kBoth, "samplers", kRefused},
    {kBoth, "repeat_last_n", kRefused, "-1", "penalties are over the whole text"},
    {kBoth, "n_predict", kRefused, "-1", "use 'max_tokens'"},
    {kBoth, "num_predict", kRefused, "-1", "use 'max_tokens'"},
    {kBoth, "random_seed", kRefused, {}, "use 'seed'"},
    {kBoth, "safe_prompt", kRefused},
    {kBoth, "options", kRefused, {}, "send its members as fields of the request"},
    {kBoth, "template", kRefused, {}, "the model's own template is used"},
    {kBoth, "system", kRefused, {}, "send a message with the role 'system'"},
    {kBoth, "raw", kRefused, {}, "use /v1/completions"},

    {kBoth, "store", kNoEffect},
    {kBoth, "metadata", kNoEffect},
    {kBoth, "user", kNoEffect},
    {kBoth, "safety_identifier", kNoEffect},
    {kBoth, "prompt_cache_key", kNoEffect},
    {kBoth, "prompt_cache_retention", kNoEffect},
    {kBoth, "cache_prompt", kNoEffect},
    {kBoth, "cache_salt", kNoEffect},
    {kChat, "parallel_tool_calls", kNoEffect},
    {kBoth, "prediction", kNoEffect},
    {kBoth, "request_id", kNoEffect},
    {kBoth, "rid", kNoEffect},
    {kBoth, "keep_alive", kNoEffect},

    {kBoth, "service_tier", kIgnored, {}, "`auto` and `default` are not named"},
    {kBoth, "priority", kIgnored},
    {kChat, "thinking_budget", kIgnored},
    {kChat, "reasoning", kIgnored},
    {kBoth, "num_ctx", kIgnored, {}, "a prompt is never truncated"},
    {kBoth, "return_token_ids", kIgnored},
    {kBoth, "timings_per_token", kIgnored},
});

// Whether the value asks for nothing.
bool IsEmpty(const json::value& value) {
  if (value.is_array()) return value.get_array().empty();
  if (value.is_object()) return value.get_object().empty();
  if (value.is_string()) return value.get_string().empty();
  if (value.is_bool()) return !value.get_bool();
  return value.is_number() && value.to_number<double>() == 0;
}

bool Equal(const json::value& a, const json::value& b) {
  return a.is_number() && b.is_number() ? a.to_number<double>() == b.to_number<double>() : a == b;
}

bool IsHarmless(const FieldRow& row, const json::value& value) {
  if (row.harmless.empty()) return IsEmpty(value);
  const json::value values = json::parse(fmt::format("[{}]", row.harmless));
  return std::ranges::any_of(values.get_array(),
                             [&](const json::value& harmless) { return Equal(harmless, value); });
}

const FieldRow* FindRow(std::string_view name, Endpoint endpoint) {
  const auto* const row = std::ranges::find_if(kTable, [&](const FieldRow& row) {
    return row.name == name && (static_cast<int>(row.where) & static_cast<int>(endpoint)) != 0;
  });
  return row == kTable.end() ? nullptr : row;
}

void Refuse(Fields& fields, const FieldRow& row) {
  const json::value* const value = fields.Any(row.name);
  if (value == nullptr || IsHarmless(row, *value)) return;
  fields.Unsupported(row.name, fmt::format("'{}' is not supported; {}", row.name,
                                           row.note.empty() ? "leave it out" : row.note));
}

}  // namespace

std::span<const FieldRow> FieldTable() {
  return kTable;
}

void ReadRest(Fields& fields, Endpoint endpoint) {
  for (const std::string& name : fields.Unread()) {
    const FieldRow* const row = FindRow(name, endpoint);
    if (row == nullptr) continue;  // unread: listed as ignored
    if (row->treatment == kRefused) Refuse(fields, *row);
    if (row->treatment == kNoEffect) fields.Skip(row->name);
  }
}

}  // namespace penstock::gateway
