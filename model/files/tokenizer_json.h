// What a model needs from a tokenizer.json besides encoding: its special tokens, and what surrounds a text.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/tokens.h"
#include "model/files/json.h"

namespace penstock {

class TokenizerJson {
 public:
  // `root` must outlive it.
  explicit TokenizerJson(const JsonObject& root);

  // By id and text, those that are well-formed; views into the document.
  const std::vector<std::pair<Token, std::string_view>>& added() const { return added_; }
  // -1: there is no such token, or `text` is empty.
  Token Find(std::string_view text) const;

  // The tokens that the post-processor puts around a single text.
  struct Surroundings {
    std::vector<Token> before, after;
  };
  // Errors: kUnsupported: names the processor, or the part of it, that is not known.
  Result<Surroundings> Around() const;

 private:
  const JsonObject& root_;
  std::vector<std::pair<Token, std::string_view>> added_;
};

}  // namespace penstock
