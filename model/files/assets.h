// TextAssets: what the gateway and `penstock model show` need to know about a model, without its weights.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/tokens.h"
#include "model/files/tensor.h"
#include "text/text.h"

namespace penstock {

struct TextAssets {
  std::string name;          // from the file's metadata; otherwise the name of the file or folder
  std::string architecture;  // GGUF's name: "qwen2"
  std::string quantisation;  // "Q4_K_M", "BF16"
  std::string licence;       // from the file's metadata; empty: not stated
  int64_t parameters = 0;
  int64_t file_bytes = 0;  // all weight files
  int32_t context = 0;     // the model's own limit
  int32_t vocabulary_size = 0;
  // Why our own kernels do not support it; empty: they do. Other runners may support it.
  std::string unserved;

  // The tokenizer: one of the two.
  std::optional<Vocabulary> vocabulary;  // of a GGUF
  std::string tokenizer_json;            // of a folder

  std::string chat_template;         // Jinja; empty: the file has none
  std::string bos_token, eos_token;  // their text, for templates; empty: none
  Token bos = -1, eos = -1;          // -1: none
  // What a plain completion's prompt begins and ends with, as the tokenizers of the references do it.
  std::vector<Token> before, after;
  // Every token that ends a generation: eos, and the vocabulary's tokens for the end of a turn or of the
  // text.
  std::vector<Token> end_tokens;

  void AddEnd(Token token);  // -1, or one that is there: nothing
};

// Reads metadata only, so it takes a fraction of a second for any size of weights. `path`: a GGUF file (of a
// split model any part) or a Hugging Face folder. Errors name the file and the defect. For a GGUF file that
// is not supported the reason is in `unserved`; for a folder it is an Error, because no other runner reads
// folders.
Result<TextAssets> ReadTextAssets(const std::string& path);

// The two kinds of `path`.
Result<TextAssets> AssetsOfGguf(const std::string& path);
Result<TextAssets> AssetsOfFolder(const std::string& path);
// The format that stores most of the bytes: "Q4_K"; empty: there are no tensors.
std::string MainFormat(const std::vector<Tensor>& tensors);

}  // namespace penstock
