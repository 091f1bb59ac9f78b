#include "engine/pieces.h"

#include "model/assets.h"
#include "text/text.h"

namespace penstock {

void Pieces::Add(std::string_view bytes) {
  block_ += bytes;
  ends_.push_back(static_cast<uint32_t>(block_.size()));
}

Pieces Pieces::Of(const std::vector<std::string>& pieces) {
  Pieces result;
  for (const std::string& piece : pieces) result.Add(piece);
  return result;
}

std::string_view Pieces::Bytes(Token token) const {
  if (token < 0 || static_cast<size_t>(token) >= ends_.size()) return {};
  const auto i = static_cast<size_t>(token);
  const uint32_t begin = i == 0 ? 0 : ends_[i - 1];
  return std::string_view(block_).substr(begin, ends_[i] - begin);
}

Result<Pieces> Pieces::Read(const std::string& path, int32_t vocabulary) {
  Pieces pieces;
  if (path.starts_with("fake:")) {
    for (int32_t token = 0; token < vocabulary; ++token) pieces.Add(fmt::format("t{} ", token));
    return pieces;
  }
  PENSTOCK_ASSIGN(const TextAssets assets, ReadTextAssets(path));
  PENSTOCK_ASSIGN(const std::unique_ptr<Tokenizer> tokenizer,
                  assets.vocabulary ? TokenizerFromVocabulary(*assets.vocabulary)
                                    : TokenizerFromJson(assets.tokenizer_json));
  for (Token token = 0; token < tokenizer->size(); ++token) pieces.Add(tokenizer->Bytes(token));
  return pieces;
}

}  // namespace penstock
