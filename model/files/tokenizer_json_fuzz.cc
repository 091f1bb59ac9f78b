// Any tokenizer.json gives special tokens and what surrounds a text, or an Error.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "model/files/tokenizer_json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto root = penstock::JsonObject::Parse(text, "fuzz");
  if (!root.has_value()) return 0;
  const penstock::TokenizerJson tokenizer(*root);
  const auto around = tokenizer.Around();
  const auto special = penstock::SpecialTokensOf(tokenizer.added());
  return around.has_value() &&
         around->before.size() + special.ends.size() + tokenizer.Find("</s>") == SIZE_MAX;
}
