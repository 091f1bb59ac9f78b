#include "app/settings/toml_edit.h"

#include <toml++/toml.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <sstream>

namespace penstock {
namespace {

// A number, true or false unchanged; anything else as a TOML string.
std::string Literal(std::string_view value) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  const bool whole = error == std::errc() && end == value.data() + value.size();
  if ((whole && std::to_string(number) == value) || value == "true" || value == "false")
    return std::string(value);
  std::ostringstream out;
  out << toml::value<std::string>(value);
  return out.str();
}

Result<toml::table> Parse(std::string_view text) {
  try {
    return toml::parse(text);
  } catch (const toml::parse_error& error) {
    return Fail(Reason::kBadSetting, "line {}: {}", error.source().begin.line, error.description());
  }
}

// Byte offset of a position that toml++ gives: lines and columns count from 1, columns in code points.
size_t OffsetOf(std::string_view text, toml::source_position at) {
  size_t offset = 0;
  for (uint32_t line = 1; line < at.line; ++line)
    offset = std::min(text.find('\n', offset), text.size() - 1) + 1;
  for (uint32_t column = 1; column < at.column && offset < text.size(); ++column) {
    ++offset;
    while (offset < text.size() && (static_cast<unsigned char>(text[offset]) & 0xc0) == 0x80) ++offset;
  }
  return offset;
}

std::string Replaced(std::string_view text, toml::source_region where, const std::string& literal) {
  const size_t begin = OffsetOf(text, where.begin), end = OffsetOf(text, where.end);
  return fmt::format("{}{}{}", text.substr(0, begin), literal, text.substr(end));
}

// The start of the line after that which `offset` is in.
size_t NextLine(std::string_view text, size_t offset) {
  const size_t newline = text.find('\n', offset);
  return newline == std::string_view::npos ? text.size() : newline + 1;
}

// Where a key without a table belongs: before the first table.
size_t RootEnd(std::string_view text) {
  for (size_t line = 0; line < text.size(); line = NextLine(text, line)) {
    const size_t first = text.find_first_not_of(" \t", line);
    if (first != std::string_view::npos && text[first] == '[') return line;
  }
  return text.size();
}

std::string Inserted(std::string_view text, size_t at, std::string_view line) {
  const bool open = at > 0 && text[at - 1] != '\n';
  return fmt::format("{}{}{}\n{}", text.substr(0, at), open ? "\n" : "", line, text.substr(at));
}

std::string Changed(std::string_view text, const toml::table& root, std::string_view name,
                    const std::string& literal) {
  if (const toml::node* node = root.at_path(name).node()) return Replaced(text, node->source(), literal);
  const size_t dot = name.rfind('.');
  if (dot == std::string_view::npos)
    return Inserted(text, RootEnd(text), fmt::format("{} = {}", name, literal));
  const std::string_view parent = name.substr(0, dot), key = name.substr(dot + 1);
  const std::string line = fmt::format("{} = {}", key, literal);
  const toml::node* table = root.at_path(parent).node();
  if (table != nullptr && table->is_table()) {
    const size_t header = OffsetOf(text, table->source().begin);
    if (header < text.size() && text[header] == '[') return Inserted(text, NextLine(text, header), line);
  }
  const std::string gap = text.empty() || text.ends_with("\n\n") ? "" : "\n";
  return Inserted(text, text.size(), fmt::format("{}[{}]\n{}", gap, parent, line));
}

}  // namespace

Result<std::string> WithSetting(std::string_view text, std::string_view name, std::string_view value) {
  PENSTOCK_ASSIGN(const toml::table before, Parse(text));
  const std::string literal = Literal(value);
  std::string changed = Changed(text, before, name, literal);
  // The edit works on text, so the result is parsed to check that it has the new value.
  const auto by_hand = [&] {
    return Fail(Reason::kBadSetting,
                "{} cannot be changed without touching other settings; edit the file: {} = {}", name, name,
                literal);
  };
  auto after = Parse(changed);
  const auto wanted = Parse("value = " + literal);
  if (!after || !wanted) return by_hand();
  const toml::node* set = after->at_path(name).node();
  std::ostringstream got, want;
  if (set == nullptr || set->is_table()) return by_hand();
  got << toml::node_view<const toml::node>(set);
  want << wanted->at_path("value");
  if (got.str() != want.str()) return by_hand();
  return changed;
}

}  // namespace penstock
