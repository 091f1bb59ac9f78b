#include "engine/pieces.h"

#include <charconv>

#include "model/files/assets.h"
#include "text/text.h"

namespace penstock {
namespace {

constexpr std::string_view kSpace = "\u2581";  // how sentencepiece writes a space

// The next character of `text`, which is UTF-8; -1 at a byte that begins none.
int32_t TakeCharacter(std::string_view& text) {
  const auto lead = static_cast<uint8_t>(text[0]);
  const size_t size = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if ((lead >= 0x80 && lead < 0xC0) || size > text.size()) return -1;
  int32_t code = size == 1 ? lead : lead & (0x7F >> size);
  for (size_t i = 1; i < size; ++i) code = (code << 6) | (static_cast<uint8_t>(text[i]) & 0x3F);
  text.remove_prefix(size);
  return code;
}

// The byte that a character stands for in GPT-2's vocabularies: printable Latin-1 for itself, the other 68
// bytes in order from U+0100. -1: none.
int32_t ByteOf(int32_t code) {
  if ((code >= 0x21 && code <= 0x7E) || (code >= 0xA1 && code <= 0xFF && code != 0xAD)) return code;
  if (code >= 0x100 && code <= 0x120) return code - 0x100;
  if (code >= 0x121 && code <= 0x142) return code - 0x121 + 0x7F;
  return code == 0x143 ? 0xAD : -1;
}

// A piece with a character that stands for no byte stands for itself.
std::string ByteLevel(std::string_view piece) {
  std::string bytes;
  for (std::string_view rest = piece; !rest.empty();) {
    const int32_t byte = ByteOf(TakeCharacter(rest));
    if (byte < 0) return std::string(piece);
    bytes += static_cast<char>(byte);
  }
  return bytes;
}

// "<0x0A>" is a byte.
std::string SentencePiece(std::string_view piece) {
  uint8_t byte = 0;
  if (piece.size() == 6 && piece.starts_with("<0x") && piece.ends_with('>') &&
      std::from_chars(&piece[3], &piece[5], byte, 16).ptr == &piece[5]) {
    return {static_cast<char>(byte)};
  }
  std::string bytes(piece);
  for (size_t at = 0; (at = bytes.find(kSpace, at)) != std::string::npos; ++at)
    bytes.replace(at, kSpace.size(), " ");
  return bytes;
}

std::string BytesOf(const Vocabulary& vocabulary, size_t token) {
  const std::string& piece = vocabulary.tokens[token];
  const bool byte_level = vocabulary.model == "gpt2";
  switch (token < vocabulary.types.size() ? vocabulary.types[token] : Vocabulary::kNormal) {
    case Vocabulary::kUnknown:
    case Vocabulary::kControl:
    case Vocabulary::kUnused:
      return {};
    case Vocabulary::kUserDefined:
      if (byte_level) return piece;
  }
  return byte_level ? ByteLevel(piece) : SentencePiece(piece);
}

}  // namespace

void Pieces::Add(std::string_view bytes) {
  block_ += bytes;
  ends_.push_back(static_cast<uint32_t>(block_.size()));
}

Pieces Pieces::Of(const std::vector<std::string>& pieces) {
  Pieces result;
  for (const std::string& piece : pieces) result.Add(piece);
  return result;
}

Pieces Pieces::Of(const Vocabulary& vocabulary) {
  Pieces result;
  for (size_t token = 0; token < vocabulary.tokens.size(); ++token) {
    result.Add(BytesOf(vocabulary, token));
    if (token < vocabulary.types.size() && vocabulary.types[token] == Vocabulary::kControl)
      result.control_.emplace(static_cast<Token>(token), vocabulary.tokens[token]);
  }
  return result;
}

std::string_view Pieces::ControlText(Token token) const {
  const auto found = control_.find(token);
  return found == control_.end() ? std::string_view() : found->second;
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
  if (assets.vocabulary) return Of(*assets.vocabulary);
  PENSTOCK_ASSIGN(const std::unique_ptr<Tokenizer> tokenizer, TokenizerFromJson(assets.tokenizer_json));
  for (Token token = 0; token < tokenizer->size(); ++token) {
    pieces.Add(tokenizer->Bytes(token));
    if (tokenizer->IsControl(token)) pieces.control_.emplace(token, tokenizer->Piece(token));
  }
  return pieces;
}

}  // namespace penstock
