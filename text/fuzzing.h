// What the fuzzers of this folder share: Rust is not instrumented, so they get no coverage from it and
// must make inputs that are nearly right.
#pragma once

#include <fuzzer/FuzzedDataProvider.h>

#include <string>

#include "base/check.h"
#include "text/text.h"

namespace penstock {

// `text` with a few spans cut out, doubled or overwritten.
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

// Whatever a tokenizer was built from, it keeps its promises or says why it cannot.
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
