// Text ↔ tokens: tokenizers and chat templates, with well-known Rust libraries behind a C ABI
// (text/rust: fastokens, tokenizers, minijinja). Errors and panics of the Rust side are returned as Error.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/tokens.h"

namespace penstock {

struct TemplateSource;  // text/render_process.h

// A GGUF's vocabulary as stored in the file: enough to rebuild its tokenizer.
struct Vocabulary {
  enum Type : int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };
  // tokenizer.ggml.model: "gpt2" (byte-pair), "gemma4" (byte-pair on UTF-8), "llama" (sentencepiece), "bert"
  // (WordPiece) or "t5" (Unigram).
  std::string model = {};
  std::string pre = {};  // tokenizer.ggml.pre, of byte-pair vocabularies: "qwen2", "smollm", "llama-bpe", …
  std::vector<std::string> tokens = {};  // by id
  std::vector<int32_t> types = {};       // Type by id; empty: all normal
  std::vector<float> scores = {};        // sentencepiece and Unigram only
  std::vector<std::string> merges = {};  // BPE only: "left right" by rank
  Token bos = -1, eos = -1, unknown = -1;
  bool add_bos = false, add_space_prefix = true;
  std::string charsmap = {};                    // Unigram only: tokenizer.ggml.precompiled_charsmap
  bool remove_extra_spaces = false;             // Unigram only: tokenizer.ggml.remove_extra_whitespaces
  bool lowercase = true, strip_accents = true;  // WordPiece only: tokenizer.ggml.normalizer.*
};

// Immutable. Threads: any number at once.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  // With `parse_special`, "<|im_end|>" in the text becomes that token: correct for a rendered template,
  // wrong for text that a user wrote. Without it, control tokens are plain text; user-defined tokens of the
  // vocabulary ("<think>") are matched in both cases, as in transformers (split_special_tokens) and
  // llama.cpp. Invalid UTF-8 is replaced by U+FFFD. No BOS is added.
  virtual Result<std::vector<Token>> Encode(std::string_view text, bool parse_special) const = 0;
  // As Encode, but the caller says which parts of the text are control tokens: exactly `controls`, in order.
  // Their text anywhere else is text. The first call of a tokenizer takes as long as loading it. Errors:
  // kInvalid: one of them is not a control token's text, or `text` is not UTF-8.
  struct Control {
    size_t begin = 0, end = 0;  // bytes
  };
  virtual Result<std::vector<Token>> EncodeControls(std::string_view text,
                                                    std::span<const Control> controls) const = 0;
  // The bytes that `token` adds to the output; they may end within a UTF-8 character (text/utf8.h holds these
  // back). Empty for control and unused tokens, and for ids that do not exist. Valid as long as the
  // tokenizer.
  virtual std::string_view Bytes(Token token) const = 0;
  // The token's text in the vocabulary, also for control tokens ("<|im_end|>").
  virtual std::string_view Piece(Token token) const = 0;
  virtual int32_t size() const = 0;
  virtual bool IsControl(Token token) const = 0;
  // The library that encodes: "fastokens" or "tokenizers".
  virtual std::string_view backend() const = 0;
};
Result<std::unique_ptr<Tokenizer>> TokenizerFromJson(std::string_view tokenizer_json);
Result<std::unique_ptr<Tokenizer>> TokenizerFromVocabulary(const Vocabulary& vocabulary);

// A model's Jinja chat template, rendered as transformers renders it (sandboxed, trim_blocks,
// lstrip_blocks, tojson, raise_exception, strftime_now), in a process with limits on time and memory
// (text/render_process.h). Calls wait for that process: up to kRenderTimeLimit for a hostile template.
// Immutable. Threads: any number at once.
class ChatTemplate {
 public:
  virtual ~ChatTemplate() = default;
  // `context_json`: an object with messages, tools, add_generation_prompt, bos_token, eos_token and
  // the members of chat_template_kwargs. Errors: kInvalid: with the template's own message if it calls
  // raise_exception, or if a limit is exceeded.
  virtual Result<std::string> Render(std::string_view context_json) const = 0;
  // For text/render_calls.h; nullptr: there is only Render.
  virtual const TemplateSource* source() const { return nullptr; }
};
// Errors: kInvalid: it does not compile, or exceeds a limit while it compiles.
Result<std::unique_ptr<ChatTemplate>> CompileTemplate(std::string source);

}  // namespace penstock
