// Shared by the fuzzers of this folder. Rust is not instrumented, so they get no coverage from it and
// must generate inputs that are almost valid.
#pragma once

#include <fuzzer/FuzzedDataProvider.h>

#include <string>

#include "base/check.h"
#include "text/text.h"

namespace penstock {

// `text` with a few spans removed, doubled or overwritten.
inline std::string Mutated(std::string text, FuzzedDataProvider& data) {
  for (int edits = data.ConsumeIntegralInRange(0, 6); edits > 0 && !text.empty(); --edits) {
    const size_t at = data.ConsumeIntegralInRange<size_t>(0, text.size() - 1);
    const size_t size = data.ConsumeIntegralInRange<size_t>(0, std::min<size_t>(text.size() - at, 40));
    switch (data.ConsumeIntegralInRange(0, 2)) {
      case 0:
        text.erase(at, size);
        break;
      case 1:
        text.insert(at, text.substr(at, size));
        break;
      default:
        text.replace(at, size, data.ConsumeRandomLengthString(24));
    }
  }
  return text;
}

// Checks that a tokenizer, built from any input, keeps its contract or returns an Error.
inline void Exercise(const Tokenizer& tokenizer, std::string_view text) {
  for (const bool special : {true, false}) {
    const auto ids = tokenizer.Encode(text, special);
    if (!ids) {
      PENSTOCK_CHECK(!ids.error().message.empty());
      continue;
    }
    for (const Token id : *ids) PENSTOCK_CHECK(id >= 0 && id < tokenizer.size());
  }
  for (Token id = -1; id <= tokenizer.size() && id < 1000; ++id) {
    (void)tokenizer.Bytes(id);
    (void)tokenizer.Piece(id);
    (void)tokenizer.IsControl(id);
  }
}

}  // namespace penstock
