// Pieces: the bytes of every token of one vocabulary, in one block of memory. An engine only ever turns
// tokens into text, so it keeps these few megabytes and no tokenizer, which takes seconds and hundreds of
// megabytes to build from a large vocabulary.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "base/tokens.h"
#include "text/text.h"

namespace penstock {

// Immutable. Threads: any.
class Pieces {
 public:
  // Of a GGUF file or Hugging Face folder; "fake:…" says "t0 t1 …", `vocabulary` of them.
  static Result<Pieces> Read(const std::string& path, int32_t vocabulary);
  static Pieces Of(const std::vector<std::string>& pieces);
  // As Tokenizer::Bytes says it for this vocabulary.
  static Pieces Of(const Vocabulary& vocabulary);

  // Empty for control tokens and ids beyond the vocabulary. May end within a UTF-8 character.
  std::string_view Bytes(Token token) const;
  // The text of a control token in the vocabulary ("<|im_start|>"), which is never output; empty for others.
  std::string_view ControlText(Token token) const;

 private:
  void Add(std::string_view bytes);

  std::string block_;
  std::vector<uint32_t> ends_;  // of each token's bytes in block_
  std::unordered_map<Token, std::string> control_;
};

}  // namespace penstock
