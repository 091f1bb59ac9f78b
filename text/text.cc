#include "text/text.h"

#include <atomic>
#include <cstdlib>
#include <utility>

#include "text/c_abi.h"
#include "text/render_process.h"

namespace penstock {
namespace {

// By default fastokens distributes a long prompt over all cores and spins there between prompts, but those
// cores belong to the engines. It reads this variable once, at its first long prompt; we set it before main,
// when no other thread can read the environment.
[[maybe_unused]] const int kOneThread = setenv("FASTOKENS_BPE_THREADS", "1", 0);

penstock_text_view View(std::string_view text) {
  return {text.data(), text.size()};
}

std::vector<penstock_text_view> Views(const std::vector<std::string>& texts) {
  std::vector<penstock_text_view> views;
  views.reserve(texts.size());
  for (const std::string& text : texts) views.push_back(View(text));
  return views;
}

Code CodeOf(penstock_text_status status) {
  switch (status) {
    case PENSTOCK_TEXT_INVALID:
      return Code::kInvalid;
    case PENSTOCK_TEXT_UNSUPPORTED:
      return Code::kUnsupported;
    case PENSTOCK_TEXT_CORRUPT:
      return Code::kCorrupt;
    default:
      return Code::kInternal;
  }
}

// Takes ownership of `error`. REQUIRES: the call that filled it failed.
std::unexpected<Error> FailOf(penstock_text_status status, penstock_text_bytes error) {
  Error failure{CodeOf(status), std::string(error.data, error.size)};
  penstock_text_free_bytes(error);
  return std::unexpected(std::move(failure));
}

std::vector<Token> Taken(const penstock_text_ids& ids) {
  std::vector<Token> tokens(ids.data, ids.data + ids.size);
  penstock_text_free_ids(ids);
  return tokens;
}

class RustTokenizer final : public Tokenizer {
 public:
  explicit RustTokenizer(penstock_tokenizer* handle) : handle_(handle) {
    penstock_tokenizer_tables(handle, &tables_);
  }
  ~RustTokenizer() override { penstock_tokenizer_free(handle_); }
  RustTokenizer(const RustTokenizer&) = delete;
  RustTokenizer& operator=(const RustTokenizer&) = delete;

  Result<std::vector<Token>> Encode(std::string_view text, bool parse_special) const override {
    penstock_text_ids ids{};
    penstock_text_bytes error{};
    if (auto status = penstock_tokenizer_encode(handle_, View(text), parse_special, &ids, &error)) {
      return FailOf(status, error);
    }
    return Taken(ids);
  }
  Result<std::vector<Token>> EncodeControls(std::string_view text,
                                            std::span<const Control> controls) const override {
    std::vector<penstock_text_control> places;
    places.reserve(controls.size());
    for (const Control& control : controls) places.push_back({control.begin, control.end});
    penstock_text_ids ids{};
    penstock_text_bytes error{};
    if (auto status = penstock_tokenizer_encode_controls(handle_, View(text), places.data(), places.size(),
                                                         &ids, &error)) {
      return FailOf(status, error);
    }
    return Taken(ids);
  }
  std::string_view Bytes(Token token) const override {
    return Slice(tables_.bytes, tables_.byte_offsets, token);
  }
  std::string_view Piece(Token token) const override {
    return Slice(tables_.pieces, tables_.piece_offsets, token);
  }
  int32_t size() const override { return static_cast<int32_t>(tables_.count); }
  bool IsControl(Token token) const override { return Has(token) && tables_.control[token]; }
  std::string_view backend() const override { return {tables_.backend.data, tables_.backend.size}; }

 private:
  bool Has(Token token) const { return token >= 0 && token < size(); }
  std::string_view Slice(const char* data, const uint32_t* offsets, Token token) const {
    if (!Has(token)) return {};
    return {data + offsets[token], offsets[token + 1] - offsets[token]};
  }

  penstock_tokenizer* const handle_;
  penstock_text_tables tables_{};
};

class ProcessTemplate final : public ChatTemplate {
 public:
  explicit ProcessTemplate(TemplateSource source) : source_(std::move(source)) {}
  Result<std::string> Render(std::string_view context_json) const override {
    return RenderInRenderer(source_, context_json);
  }
  const TemplateSource* source() const override { return &source_; }

 private:
  const TemplateSource source_;
};

}  // namespace

Result<std::unique_ptr<Tokenizer>> TokenizerFromJson(std::string_view tokenizer_json) {
  penstock_tokenizer* handle = nullptr;
  penstock_text_bytes error{};
  if (auto status = penstock_tokenizer_from_json(View(tokenizer_json), &handle, &error)) {
    return FailOf(status, error);
  }
  return std::make_unique<RustTokenizer>(handle);
}

Result<std::unique_ptr<Tokenizer>> TokenizerFromVocabulary(const Vocabulary& vocabulary) {
  const std::vector<penstock_text_view> tokens = Views(vocabulary.tokens), merges = Views(vocabulary.merges);
  if (!vocabulary.types.empty() && vocabulary.types.size() != tokens.size()) {
    return Fail(Reason::kModelDamaged, "the vocabulary has {} tokens but {} token types", tokens.size(),
                vocabulary.types.size());
  }
  if (!vocabulary.scores.empty() && vocabulary.scores.size() != tokens.size()) {
    return Fail(Reason::kModelDamaged, "the vocabulary has {} tokens but {} scores", tokens.size(),
                vocabulary.scores.size());
  }
  const penstock_text_vocabulary raw{
      .model = View(vocabulary.model),
      .pre = View(vocabulary.pre),
      .tokens = tokens.data(),
      .token_count = tokens.size(),
      .types = vocabulary.types.empty() ? nullptr : vocabulary.types.data(),
      .scores = vocabulary.scores.empty() ? nullptr : vocabulary.scores.data(),
      .merges = merges.data(),
      .merge_count = merges.size(),
      .unknown = vocabulary.unknown,
      .add_space_prefix = vocabulary.add_space_prefix,
      .charsmap = View(vocabulary.charsmap),
      .remove_extra_spaces = vocabulary.remove_extra_spaces,
      .lowercase = vocabulary.lowercase,
      .strip_accents = vocabulary.strip_accents,
  };
  penstock_tokenizer* handle = nullptr;
  penstock_text_bytes error{};
  if (auto status = penstock_tokenizer_from_vocabulary(&raw, &handle, &error)) return FailOf(status, error);
  return std::make_unique<RustTokenizer>(handle);
}

Result<std::unique_ptr<ChatTemplate>> CompileTemplate(std::string source) {
  static std::atomic<uint64_t> last_id = 0;
  TemplateSource named{.id = ++last_id, .text = std::move(source)};
  PENSTOCK_TRY(CompileInRenderer(named));
  return std::make_unique<ProcessTemplate>(std::move(named));
}

}  // namespace penstock
