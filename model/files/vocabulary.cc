#include "model/files/vocabulary.h"

#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <unordered_set>
#include <utility>

#include "model/files/special_tokens.h"

namespace penstock {
namespace {

// Pre-tokenizers whose texts begin with BOS unless the file says otherwise (llama-vocab.cpp).
constexpr std::array<std::string_view, 12> kBeginWithBos = {
    "llama3",   "llama-v3", "llama-bpe",    "falcon3", "falcon-h1", "pixtral",
    "midm-2.0", "lfm2",     "jina-v5-nano", "tekken",  "chameleon", "gemma4",
};

bool BeginsWithBos(const Vocabulary& v) {
  if (v.model == "llama" || v.model == "bert" || v.model == "gemma4") return true;
  return v.model == "gpt2" && std::ranges::find(kBeginWithBos, v.pre) != kBeginWithBos.end();
}

// `fallback` if the file has no such id or says "none" (converters write -1, some as uint32): libllama then
// takes its default too. -1: none.
Result<Token> TokenId(const Gguf& gguf, std::string_view key, size_t vocabulary, Token fallback = -1) {
  constexpr int64_t kNone = std::numeric_limits<uint32_t>::max();
  PENSTOCK_ASSIGN(const auto id, gguf.Int(key, -1, kNone));
  const bool none = !id.has_value() || *id == kNone || *id == -1;
  const int64_t token = none ? fallback : *id;
  if (std::cmp_less(token, vocabulary)) return static_cast<Token>(token);
  if (none) return Token{-1};
  return Fail(Reason::kModelDamaged,
              "{}: \"{}\" is {}, but the vocabulary has {} tokens; convert the model again", gguf.origin(),
              key, token, vocabulary);
}

// Byte-level BPE without merges would read every text byte by byte.
Status CheckMerges(const Gguf& gguf, const Vocabulary& v) {
  const bool needed = (v.model == "gpt2" && v.pre != "kimi-k2") || v.model == "gemma4";
  if (!needed || !v.merges.empty()) return {};
  return Fail(
      Reason::kModelDamaged,
      "{}: \"tokenizer.ggml.merges\" is missing or empty, so its byte-level BPE vocabulary cannot form "
      "words; convert the model again",
      gguf.origin());
}

Status CheckTokens(const Gguf& gguf, const Vocabulary& v) {
  std::unordered_set<std::string_view> seen;
  seen.reserve(v.tokens.size());
  for (size_t i = 0; i < v.tokens.size(); ++i) {
    if (v.tokens[i].empty() || seen.insert(v.tokens[i]).second) continue;
    return Fail(
        Reason::kModelDamaged,
        "{}: token {} of \"tokenizer.ggml.tokens\" has the text of an earlier one; convert the model again",
        gguf.origin(), i);
  }
  PENSTOCK_ASSIGN(const auto architecture, gguf.String("general.architecture"));
  const std::string key = fmt::format("{}.vocab_size", architecture.value_or(""));
  PENSTOCK_ASSIGN(const auto size, gguf.Int(key, 0, std::numeric_limits<int64_t>::max()));
  if (!size.has_value() || *size == std::ssize(v.tokens)) return {};
  return Fail(Reason::kModelDamaged,
              "{}: \"{}\" is {}, but the vocabulary has {} tokens; convert the model again", gguf.origin(),
              key, *size, v.tokens.size());
}

Result<Vocabulary> ReadTokens(const Gguf& gguf) {
  Vocabulary v;
  PENSTOCK_ASSIGN(const auto model, gguf.String("tokenizer.ggml.model"));
  PENSTOCK_ASSIGN(const auto pre, gguf.String("tokenizer.ggml.pre"));
  PENSTOCK_ASSIGN(const auto tokens, gguf.Strings("tokenizer.ggml.tokens"));
  PENSTOCK_ASSIGN(const auto types, gguf.Ints("tokenizer.ggml.token_type"));
  PENSTOCK_ASSIGN(v.scores, gguf.Floats("tokenizer.ggml.scores"));
  PENSTOCK_ASSIGN(const auto merges, gguf.Strings("tokenizer.ggml.merges"));
  if (!model.has_value() || tokens.empty()) {
    return Fail(Reason::kModelDamaged,
                "{}: it has no vocabulary (tokenizer.ggml.tokens); convert the model again", gguf.origin());
  }
  if ((!types.empty() && types.size() != tokens.size()) ||
      (!v.scores.empty() && v.scores.size() != tokens.size())) {
    return Fail(Reason::kModelDamaged, "{}: {} tokens have {} types and {} scores; convert the model again",
                gguf.origin(), tokens.size(), types.size(), v.scores.size());
  }
  v.model = *model;
  v.pre = pre.value_or("");
  v.tokens.assign(tokens.begin(), tokens.end());
  for (const int64_t type : types) v.types.push_back(static_cast<int32_t>(std::clamp<int64_t>(type, 0, 6)));
  v.merges.assign(merges.begin(), merges.end());
  PENSTOCK_TRY(CheckMerges(gguf, v));
  PENSTOCK_TRY(CheckTokens(gguf, v));
  return v;
}

Status ReadIds(const Gguf& gguf, GgufVocabulary& out) {
  Vocabulary& v = out.vocabulary;
  const size_t size = v.tokens.size();
  const bool sentencepiece = v.model == "llama";
  PENSTOCK_ASSIGN(v.bos, TokenId(gguf, "tokenizer.ggml.bos_token_id", size, sentencepiece ? 1 : -1));
  PENSTOCK_ASSIGN(v.eos, TokenId(gguf, "tokenizer.ggml.eos_token_id", size, sentencepiece ? 2 : -1));
  PENSTOCK_ASSIGN(v.unknown, TokenId(gguf, "tokenizer.ggml.unknown_token_id", size, sentencepiece ? 0 : -1));
  PENSTOCK_ASSIGN(const auto add_bos, gguf.Bool("tokenizer.ggml.add_bos_token"));
  v.add_bos = add_bos.value_or(BeginsWithBos(v)) || v.model == "gemma4" || v.pre == "gemma4";
  PENSTOCK_ASSIGN(const auto add_eos, gguf.Bool("tokenizer.ggml.add_eos_token"));
  out.add_eos = add_eos.value_or(v.model == "t5");
  PENSTOCK_ASSIGN(const auto prefix, gguf.Bool("tokenizer.ggml.add_space_prefix"));
  v.add_space_prefix = prefix.value_or(true);
  return {};
}

void SetTypes(std::span<const Token> tokens, int32_t type, Vocabulary& v) {
  if (tokens.empty()) return;
  v.types.resize(v.tokens.size(), Vocabulary::kNormal);
  for (const Token token : tokens) v.types[static_cast<size_t>(token)] = type;
}

Status ReadEnds(const Gguf& gguf, GgufVocabulary& out) {
  Vocabulary& v = out.vocabulary;
  std::vector<std::pair<Token, std::string_view>> tokens;
  for (size_t i = 0; i < v.tokens.size(); ++i) tokens.emplace_back(static_cast<Token>(i), v.tokens[i]);
  const SpecialTokens special = SpecialTokensOf(tokens);
  SetTypes(special.control, Vocabulary::kControl, v);
  SetTypes(special.shown, Vocabulary::kUserDefined, v);
  const auto add = [&](Token token) {
    if (token >= 0 && std::ranges::find(out.ends, token) == out.ends.end()) out.ends.push_back(token);
  };
  add(v.eos);
  for (const auto* key :
       {"tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id", "tokenizer.ggml.fim_pad_token_id",
        "tokenizer.ggml.fim_rep_token_id", "tokenizer.ggml.fim_sep_token_id"}) {
    PENSTOCK_ASSIGN(const Token id, TokenId(gguf, key, v.tokens.size()));
    if (std::ranges::find(special.shown, id) == special.shown.end()) add(id);
  }
  for (const Token token : special.ends) add(token);
  return {};
}

}  // namespace

Result<GgufVocabulary> ReadVocabulary(const Gguf& gguf) {
  GgufVocabulary out;
  PENSTOCK_ASSIGN(out.vocabulary, ReadTokens(gguf));
  PENSTOCK_TRY(ReadIds(gguf, out));
  PENSTOCK_TRY(ReadEnds(gguf, out));
  return out;
}

}  // namespace penstock
