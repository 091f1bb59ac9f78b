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
  bool may_be_word = false;  // then only where the file does not call it one
};

constexpr std::array<Row, 61> kRows = {{
    {"<|eot_id|>", Kind::kEnd},
    {"<|im_end|>", Kind::kEnd},
    {"<|end|>", Kind::kEnd},
    {"<|return|>", Kind::kEnd},  // gpt-oss
    {"<|call|>", Kind::kEnd},    // gpt-oss
    {"<|flush|>", Kind::kEnd},   // Solar Open
    {"<|calls|>", Kind::kEnd},   // Solar Open
    {"<end_of_turn>", Kind::kEnd},
    {"<|endoftext|>", Kind::kEnd},
    {"</s>", Kind::kEnd, true},
    {"<|eom_id|>", Kind::kEnd},
    {"<EOT>", Kind::kEnd, true},
    {"_<EOT>", Kind::kEnd, true},
    {"[EOT]", Kind::kEnd, true},  // Kimi K2
    {"[EOS]", Kind::kEnd, true},  // Kimi K2
    {"<|end_of_text|>", Kind::kEnd},
    {"<end_of_utterance>", Kind::kEnd},  // SmolDocling
    {"<eos>", Kind::kEnd, true},         // Gemma 4
    {"<turn|>", Kind::kEnd},             // Gemma 4
    {"<|tool_response>", Kind::kEnd},    // Gemma 4
    {"<｜end▁of▁sentence｜>", Kind::kEnd},
    {"[e~[", Kind::kEnd},  // MiniMax M2
    {"<|fim_pad|>", Kind::kFillEnd},
    {"<fim-pad>", Kind::kFillEnd},
    {"<fim_pad>", Kind::kFillEnd},
    {"<PAD>", Kind::kFillEnd, true},
    {"[PAD]", Kind::kFillEnd, true},
    {"<|fim_repo|>", Kind::kFillEnd},
    {"<|repo_name|>", Kind::kFillEnd},
    {"<fim-repo>", Kind::kFillEnd},
    {"<REPO>", Kind::kFillEnd, true},
    {"<reponame>", Kind::kFillEnd},
    {"<|file_sep|>", Kind::kFillEnd},
    {"<|fim_prefix|>", Kind::kFill},
    {"<fim-prefix>", Kind::kFill},
    {"<fim_prefix>", Kind::kFill},
    {"<｜fim▁begin｜>", Kind::kFill},
    {"<PRE>", Kind::kFill, true},
    {"▁<PRE>", Kind::kFill, true},
    {"<|code_prefix|>", Kind::kFill},
    {"<|fim_suffix|>", Kind::kFill},
    {"<fim-suffix>", Kind::kFill},
    {"<fim_suffix>", Kind::kFill},
    {"<｜fim▁hole｜>", Kind::kFill},
    {"<|fim_middle|>", Kind::kFill},
    {"<fim-middle>", Kind::kFill},
    {"<fim_middle>", Kind::kFill},
    {"<｜fim▁end｜>", Kind::kFill},
    {"<MID>", Kind::kFill, true},
    {"▁<MID>", Kind::kFill, true},
    {"<SUF>", Kind::kFill, true},
    {"▁<SUF>", Kind::kFill, true},
    {"<|code_suffix|>", Kind::kFill},
    {"<|code_middle|>", Kind::kFill},
    {"<|prefix|>", Kind::kFill},
    {"<|suffix|>", Kind::kFill},
    {"<|middle|>", Kind::kFill},
    {"<|channel|>", Kind::kShown},
    {"<|message|>", Kind::kShown},
    {"<|start|>", Kind::kShown},
    {"<|constrain|>", Kind::kShown},
}};

const std::unordered_map<std::string_view, const Row*>& Rows() {
  static const auto rows = [] {
    std::unordered_map<std::string_view, const Row*> all;
    for (const Row& row : kRows) all.emplace(row.text, &row);
    return all;
  }();
  return rows;
}

}  // namespace

SpecialTokens SpecialTokensOf(std::span<const NamedToken> tokens) {
  SpecialTokens out;
  std::unordered_map<std::string_view, Token> ends;
  for (const auto& [token, text, word] : tokens) {
    const auto found = Rows().find(text);
    if (found == Rows().end() || (word && found->second->may_be_word)) continue;
    const Kind kind = found->second->kind;
    if (kind == Kind::kShown) {
      out.shown.push_back(token);
      continue;
    }
    if (kind != Kind::kFill) ends.emplace(text, token);
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
