// Any bytes give either a checked GGUF or an Error, and never a read outside the bytes.
#include <cstddef>
#include <cstdint>
#include <span>

#include "model/files/config.h"
#include "model/files/gguf.h"
#include "model/files/keys.h"
#include "model/files/vocabulary.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  if (const auto beginning = penstock::Gguf::ParseBeginning(bytes, "fuzz"); beginning.has_value()) {
    (void)penstock::ConfigFromGguf(*beginning);
  }
  const auto gguf = penstock::Gguf::Parse(bytes, "fuzz");
  if (!gguf.has_value()) return 0;
  // Calls each accessor on each kind of value.
  for (const auto* key :
       {"a", "general.name", "general.alignment", "tokenizer.ggml.tokens", "tokenizer.ggml.scores"}) {
    (void)gguf->Int(key, -1, 1);
    (void)gguf->Real(key);
    (void)gguf->Bool(key);
    (void)gguf->String(key);
    (void)gguf->Strings(key);
    (void)gguf->Ints(key);
    (void)gguf->Floats(key);
    (void)gguf->IntOfLayers(key, 2, 0, 9);
  }
  (void)penstock::ConfigFromGguf(*gguf);
  (void)penstock::ReadVocabulary(*gguf);
  (void)penstock::CheckLibllamaKeys(*gguf, "llama");
  size_t sum = 0;
  for (const auto& tensor : gguf->tensors())
    sum += static_cast<size_t>(tensor.data.front()) + static_cast<size_t>(tensor.data.back());
  return sum == SIZE_MAX ? 1 : 0;  // keeps the compiler from removing the reads
}
