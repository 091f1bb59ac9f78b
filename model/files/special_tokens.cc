#include "model/files/special_tokens.h"

#include <algorithm>
#include <array>
#include <string>
#include <unordered_map>

namespace penstock {
namespace {

enum class Kind : uint8_t {
  kEnd,      // ends a turn or the text
  kFillEnd,  // separates files or fills them, where a code completion ends
  kFill,     // marks the parts of a fill-in-the-middle prompt
  kShown,    // marks channels of an answer, which clients separate
};

struct Row {
  std::string_view text;
  Kind kind;
};

constexpr std::array<Row, 54> kRows = {{
    {"<|eot_id|>", Kind::kEnd},
    {"<|im_end|>", Kind::kEnd},
    {"<|end|>", Kind::kEnd},
    {"<|return|>", Kind::kEnd},  // gpt-oss
    {"<|call|>", Kind::kEnd},    // gpt-oss
    {"<|flush|>", Kind::kEnd},   // Solar Open
    {"<|calls|>", Kind::kEnd},   // Solar Open
    {"<end_of_turn>", Kind::kEnd},
    {"<|endoftext|>", Kind::kEnd},
    {"</s>", Kind::kEnd},
    {"<|eom_id|>", Kind::kEnd},
    {"<EOT>", Kind::kEnd},
    {"_<EOT>", Kind::kEnd},
    {"[EOT]", Kind::kEnd},  // Kimi K2
    {"[EOS]", Kind::kEnd},  // Kimi K2
    {"<|end_of_text|>", Kind::kEnd},
    {"<end_of_utterance>", Kind::kEnd},  // SmolDocling
    {"<eos>", Kind::kEnd},               // Gemma 4
    {"<turn|>", Kind::kEnd},             // Gemma 4
    {"<|tool_response>", Kind::kEnd},    // Gemma 4
    {"<｜end▁of▁sentence｜>", Kind::kEnd},
    {"[e~[", Kind::kEnd},  // MiniMax M2
    {"<|fim_pad|>", Kind::kFillEnd},
    {"<fim-pad>", Kind::kFillEnd},
    {"<fim_pad>", Kind::kFillEnd},
    {"<PAD>", Kind::kFillEnd},
    {"[PAD]", Kind::kFillEnd},
    {"<|fim_repo|>", Kind::kFillEnd},
    {"<|repo_name|>", Kind::kFillEnd},
    {"<fim-repo>", Kind::kFillEnd},
    {"<REPO>", Kind::kFillEnd},
    {"<reponame>", Kind::kFillEnd},
    {"<|file_sep|>", Kind::kFillEnd},
    {"<|fim_prefix|>", Kind::kFill},
    {"<fim-prefix>", Kind::kFill},
    {"<fim_prefix>", Kind::kFill},
    {"<｜fim▁begin｜>", Kind::kFill},
    {"<PRE>", Kind::kFill},
    {"▁<PRE>", Kind::kFill},
    {"<|code_prefix|>", Kind::kFill},
    {"<|fim_suffix|>", Kind::kFill},
    {"<fim-suffix>", Kind::kFill},
    {"<fim_suffix>", Kind::kFill},
    {"<｜fim▁hole｜>", Kind::kFill},
    {"<|fim_middle|>", Kind::kFill},
    {"<fim-middle>", Kind::kFill},
    {"<fim_middle>", Kind::kFill},
    {"<｜fim▁end｜>", Kind::kFill},
    {"<MID>", Kind::kFill},
    {"▁<MID>", Kind::kFill},
    {"<|channel|>", Kind::kShown},
    {"<|message|>", Kind::kShown},
    {"<|start|>", Kind::kShown},
    {"<|constrain|>", Kind::kShown},
}};

const std::unordered_map<std::string_view, Kind>& Kinds() {
  static const auto kinds = [] {
    std::unordered_map<std::string_view, Kind> all;
    for (const Row& row : kRows) all.emplace(row.text, row.kind);
    return all;
  }();
  return kinds;
}

}  // namespace

SpecialTokens SpecialTokensOf(std::span<const std::pair<Token, std::string_view>> tokens) {
  SpecialTokens out;
  std::unordered_map<std::string_view, Token> ends;
  for (const auto& [token, text] : tokens) {
    const auto found = Kinds().find(text);
    if (found == Kinds().end()) continue;
    if (found->second == Kind::kShown) {
      out.shown.push_back(token);
      continue;
    }
    if (found->second != Kind::kFill) ends.emplace(text, token);
    out.control.push_back(token);
  }
  const auto has = [&](std::string_view text) { return ends.contains(text); };
  const auto leave = [&](std::string_view text) {
    if (!has(text)) return Token{-1};
    const Token token = ends.extract(text).mapped();
    std::erase(out.control, token);
    return token;
  };
  // Formats in which a message ends before the answer does.
  const bool harmony = has("<|return|>") && has("<|call|>");
  const bool solar = has("<|flush|>") && (has("<|call|>") || has("<|calls|>"));
  if (harmony || solar) {
    if (const Token end = leave("<|end|>"); end >= 0) out.shown.push_back(end);
  }
  if (has("<|tool_response>")) leave("</s>");  // Gemma 4: a word of its vocabulary
  for (const auto& [text, token] : ends) out.ends.push_back(token);
  std::ranges::sort(out.ends);
  return out;
}

}  // namespace penstock
