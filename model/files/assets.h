// TextAssets: what the gateway and `penstock model show` need to know of a model, without its weights.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/tokens.h"
#include "text/text.h"

namespace penstock {

struct TextAssets {
  std::string name;          // as the file states it; else the file's or folder's name
  std::string architecture;  // GGUF's name: "qwen2"
  std::string quantisation;  // "Q4_K_M", "BF16"
  std::string licence;       // as the file states it; empty: not stated
  int64_t parameters = 0;
  int64_t file_bytes = 0;  // all weight files
  int32_t context = 0;     // the model's own limit
  int32_t vocabulary_size = 0;
  // Why our own kernels do not compute it; empty: they do. Other runners may.
  std::string unserved;

  // The tokenizer: one of the two.
  std::optional<Vocabulary> vocabulary;  // of a GGUF
  std::string tokenizer_json;            // of a folder

  std::string chat_template;         // Jinja; empty: the file has none
  std::string bos_token, eos_token;  // their text, as templates want it; empty: none
  Token bos = -1, eos = -1;          // -1: none, or (in a folder) only the tokenizer knows
  bool add_bos = false;              // whether a plain completion's prompt begins with bos
  // Every token that ends a generation: eos, and the ends of turn and text that the vocabulary marks.
  std::vector<Token> end_tokens;
};

// Reads metadata only: a fraction of a second whatever the size of the weights. `path`: a GGUF file or a
// Hugging Face folder. Errors name the file and the defect. A GGUF file of a kind that is not served says so
// in `unserved`; a folder's is an Error: nobody else reads folders.
Result<TextAssets> ReadTextAssets(const std::string& path);

// Whether `piece` is how a vocabulary of ours writes the end of a turn or of the text.
bool IsEndPiece(std::string_view piece);

}  // namespace penstock
