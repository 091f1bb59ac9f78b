// What becomes of every key of a model file: read, ignored with a reason, or accepted only at the value that
// changes nothing. docs/files.md shows these tables; a test keeps both equal.
//
// A key that is not listed: under a GGUF's architecture prefix it is refused, since it may change the meaning
// of the weights; elsewhere it is ignored. In config.json, what is listed is what transformers' class of the
// architecture defines or reads; transformers ignores all other fields, and so do we.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "model/files/gguf.h"
#include "model/files/json.h"

namespace penstock {

struct KeyRow {
  enum class Use : uint8_t { kRead, kIgnored, kOnly };
  std::string_view key;            // without the architecture's prefix; "name.*": all keys below
  std::string_view architectures;  // separated by spaces; empty: all
  Use use = Use::kRead;
  std::string_view only = {};  // the values that change nothing, separated by spaces
  std::string_view note = {};  // what it decides, or why it does not matter
};

std::span<const KeyRow> GgufKeys();         // under "ARCHITECTURE.", for the native runner
std::span<const KeyRow> GgufGeneralKeys();  // all others
std::span<const KeyRow> ConfigFields();     // of config.json; architectures are model types

// Checks a file's keys against the tables, for an architecture that the native runner supports.
// Errors: kUnsupported: names the first key that is unknown or has a value that is not supported.
Status CheckGgufKeys(const Gguf& gguf, std::string_view architecture);
Status CheckConfigFields(const JsonObject& config, std::string_view model_type);

// For libllama, of any architecture. Errors: kUnsupported: names a key under the architecture's prefix that
// libllama 0.5 does not know, so it would ignore it.
Status CheckLibllamaKeys(const Gguf& gguf, std::string_view architecture);

// The tables as Markdown, for docs/files.md.
std::string KeyTable(std::span<const KeyRow> rows);

}  // namespace penstock
