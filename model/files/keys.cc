#include "model/files/keys.h"

#include <algorithm>
#include <ranges>
#include <vector>

#include <fmt/ranges.h>
#include <boost/json/serialize.hpp>

#include "model/files/libllama_keys.h"

namespace penstock {
namespace {

bool Lists(std::string_view words, std::string_view word) {
  return std::ranges::any_of(std::views::split(words, ' '),
                             [&](const auto& part) { return std::string_view(part) == word; });
}

const KeyRow* FindRow(std::span<const KeyRow> rows, std::string_view key, std::string_view architecture) {
  const auto found = std::ranges::find_if(rows, [&](const KeyRow& row) {
    return row.key == key && (row.architectures.empty() || Lists(row.architectures, architecture));
  });
  return found == rows.end() ? nullptr : &*found;
}

std::unexpected<Error> WrongValue(std::string_view origin, std::string_view key, std::string_view value,
                                  const KeyRow& row) {
  std::string only;
  for (const auto word : std::views::split(row.only, ' '))
    only += (only.empty() ? "" : " or ") + std::string(std::string_view(word));
  return Fail(Reason::kModelUnsupported, "{}: \"{}\" is {}, which is not supported{}{}", origin, key, value,
              only.empty() ? "" : "; only " + only + " is",
              row.note.empty() ? "" : fmt::format(" ({})", row.note));
}

bool Knows(std::string_view key) {
  return std::ranges::find(LibllamaKeys(), key) != LibllamaKeys().end();
}

// A value of a config.json as text, as the table writes it.
std::string TextOf(const boost::json::value& value) {
  if (value.is_string()) return std::string(value.get_string());
  if (value.is_number()) return fmt::format("{}", value.to_number<double>());
  return boost::json::serialize(value);
}

}  // namespace

Status CheckGgufKeys(const Gguf& gguf, std::string_view architecture) {
  const std::string prefix = fmt::format("{}.", architecture);
  for (const auto& [key, value] : gguf.values()) {
    if (!key.starts_with(prefix)) continue;
    const KeyRow* row = FindRow(GgufKeys(), std::string_view(key).substr(prefix.size()), architecture);
    if (row == nullptr) {
      return Fail(
          Reason::kModelUnsupported,
          "{}: key \"{}\" is not known for this architecture; it may change what the model computes, so the "
          "native runner does not support the file",
          gguf.origin(), key);
    }
    if (row->use != KeyRow::Use::kOnly) continue;
    for (const auto& text : gguf.Texts(value)) {
      if (!Lists(row->only, text)) return WrongValue(gguf.origin(), key, text, *row);
    }
  }
  return {};
}

Status CheckConfigFields(const JsonObject& config, std::string_view model_type) {
  for (const KeyRow& row : ConfigFields()) {
    if (row.use != KeyRow::Use::kOnly) continue;
    if (!row.architectures.empty() && !Lists(row.architectures, model_type)) continue;
    const auto* value = config.Find(row.key);  // null is the same as missing
    if (value == nullptr) continue;
    if (const std::string text = TextOf(*value); !Lists(row.only, text))
      return WrongValue(config.origin(), row.key, text, row);
  }
  return {};
}

Status CheckLibllamaKeys(const Gguf& gguf, std::string_view architecture) {
  const std::string prefix = fmt::format("{}.", architecture);
  for (const auto& [key, value] : gguf.values()) {
    if (!key.starts_with(prefix)) continue;
    if (Knows(std::string_view(key).substr(prefix.size()))) continue;
    return Fail(
        Reason::kModelUnsupported,
        "{}: key \"{}\" is not known to libllama; it may change what the model computes, so no runner "
        "supports the file. Convert the model with llama.cpp's converter",
        gguf.origin(), key);
  }
  return {};
}

std::string KeyTable(std::span<const KeyRow> rows) {
  std::string out = "| key | architectures | what becomes of it | note |\n|---|---|---|---|\n";
  for (const KeyRow& row : rows) {
    std::string use = row.use == KeyRow::Use::kRead ? "read" : "ignored";
    if (row.use == KeyRow::Use::kOnly) {
      std::string only;
      for (const auto word : std::views::split(row.only, ' '))
        only += (only.empty() ? "`" : "` or `") + std::string(std::string_view(word));
      use = row.only.empty() ? "refused" : fmt::format("refused unless {}`", only);
    }
    fmt::format_to(std::back_inserter(out), "| `{}` | {} | {} | {} |\n", row.key,
                   row.architectures.empty() ? "all" : row.architectures, use, row.note);
  }
  return out;
}

}  // namespace penstock
