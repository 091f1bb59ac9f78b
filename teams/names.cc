#include "teams/names.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <optional>

#include "teams/teams.h"

namespace penstock {
namespace {

constexpr size_t kMaxName = 64;

// nullopt: not UTF-8.
std::optional<std::string> Mapped(std::string_view text, int options) {
  utf8proc_uint8_t* mapped = nullptr;
  const auto size = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                 static_cast<utf8proc_ssize_t>(text.size()), &mapped,
                                 static_cast<utf8proc_option_t>(options));
  const std::unique_ptr<utf8proc_uint8_t, decltype([](utf8proc_uint8_t* bytes) { std::free(bytes); })> owned(
      mapped);
  if (size < 0) return std::nullopt;
  return std::string(reinterpret_cast<const char*>(mapped), static_cast<size_t>(size));
}

// The characters that NFC text may have in a name. The joiners (U+200C, U+200D) are invisible but belong to
// the spelling of some languages and to emoji.
bool IsPlain(utf8proc_int32_t c) {
  if (c == 0x200C || c == 0x200D) return true;
  switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_CC:  // controls
    case UTF8PROC_CATEGORY_CF:  // formats: bidirectional marks, zero-width spaces, tags
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    default:
      return true;
  }
}

// Why a name in NFC is refused; empty: it is not.
std::string_view Fault(std::string_view name) {
  if (name.empty()) return "is empty";
  if (name.size() > kMaxName) return "is longer than 64 bytes";
  const auto* at = reinterpret_cast<const utf8proc_uint8_t*>(name.data());
  auto left = static_cast<utf8proc_ssize_t>(name.size());
  for (bool first = true; left > 0; first = false) {
    utf8proc_int32_t c = 0;
    const utf8proc_ssize_t size = utf8proc_iterate(at, left, &c);
    if (size <= 0) return "is not UTF-8";
    at += size;
    left -= size;
    if (!IsPlain(c)) return "has a control, bidirectional or invisible character";
    if (utf8proc_category(c) == UTF8PROC_CATEGORY_ZS && (first || left == 0))
      return "begins or ends with a space";
  }
  return {};
}

}  // namespace

Result<std::string> CheckedName(std::string_view what, std::string_view name) {
  const auto composed = Mapped(name, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
  const std::string_view fault = composed ? Fault(*composed) : "is not UTF-8";
  if (fault.empty()) return *composed;
  std::string shown;
  for (const char c : name.substr(0, kMaxName)) shown += c >= ' ' && c < 0x7F ? c : '?';
  return Fail(Code::kInvalid, "the {} name '{}' {}; use 1 to {} bytes of letters, digits, spaces and signs",
              what, shown, fault, kMaxName);
}

std::string ComposedName(std::string_view name) {
  return Mapped(name, UTF8PROC_STABLE | UTF8PROC_COMPOSE).value_or(std::string(name));
}

std::string FoldedName(std::string_view name) {
  return Mapped(name, UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_CASEFOLD | UTF8PROC_IGNORE)
      .value_or(std::string(name));
}

const Team* FindTeamIn(const std::vector<Team>& teams, std::string_view text) {
  const std::string name = ComposedName(text);
  auto found = std::ranges::find(teams, name, &Team::name);
  if (found == teams.end()) found = std::ranges::find(teams, text, &Team::name);  // older than this rule
  TeamId id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (found == teams.end() && error == std::errc() && end == text.data() + text.size())
    found = std::ranges::find(teams, id, &Team::id);
  if (found != teams.end()) return &*found;
  const auto alike = [folded = FoldedName(text)](const Team& team) {
    return FoldedName(team.name) == folded;
  };
  return std::ranges::count_if(teams, alike) == 1 ? &*std::ranges::find_if(teams, alike) : nullptr;
}

}  // namespace penstock
