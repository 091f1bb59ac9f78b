// The vocabulary of a GGUF file, checked: every id is in it, and its types are those that its texts require.
#pragma once

#include <vector>

#include "base/result.h"
#include "model/files/gguf.h"
#include "text/text.h"

namespace penstock {

struct GgufVocabulary {
  Vocabulary vocabulary;
  bool add_eos = false;  // a plain completion's prompt ends with eos
  // Every token that ends a generation: eos, then those of an end of turn or of the text.
  std::vector<Token> ends;
};

// What a file does not say has libllama's defaults. Errors name the file and the key: kCorrupt for an id
// outside the vocabulary, sizes that differ, a token that appears twice, byte-level BPE without merges.
Result<GgufVocabulary> ReadVocabulary(const Gguf& gguf);

}  // namespace penstock
