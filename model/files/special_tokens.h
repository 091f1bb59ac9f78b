// What the text of a token says about it: whether it ends a generation, and whether it is shown.
// Files often give such tokens a wrong type. The rules are those of libllama 0.5 (llama-vocab.cpp), as a
// table.
#pragma once

#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/tokens.h"

namespace penstock {

struct SpecialTokens {
  std::vector<Token> ends;     // end a generation
  std::vector<Token> control;  // are never text, whatever type the file gives them
  std::vector<Token> shown;    // are text ("<|channel|>"), whatever type the file gives them
};

// `tokens`: the vocabulary, or those of its tokens that may be special.
SpecialTokens SpecialTokensOf(std::span<const std::pair<Token, std::string_view>> tokens);

}  // namespace penstock
