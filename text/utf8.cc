#include "text/utf8.h"

#include <cstdint>
#include <utility>

namespace penstock {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

enum class Found { kCharacter, kInvalid, kIncomplete };
struct Step {
  Found found;
  size_t size;  // bytes of the character, of the invalid subpart, or all remaining bytes
};

struct Range {
  uint8_t low, high;
  bool Has(uint8_t byte) const { return low <= byte && byte <= high; }
};

// How many bytes follow `lead` (Unicode table 3-7); 0: none. Only the range of the second byte varies.
size_t Followers(uint8_t lead) {
  if (lead >= 0xC2 && lead <= 0xDF) return 1;
  if (lead >= 0xE0 && lead <= 0xEF) return 2;
  return lead >= 0xF0 && lead <= 0xF4 ? 3 : 0;
}
Range SecondByte(uint8_t lead) {
  switch (lead) {
    case 0xE0:
      return {0xA0, 0xBF};  // shorter forms exist
    case 0xED:
      return {0x80, 0x9F};  // surrogates
    case 0xF0:
      return {0x90, 0xBF};
    case 0xF4:
      return {0x80, 0x8F};  // past U+10FFFF
    default:
      return {0x80, 0xBF};
  }
}

// The first character, or the invalid or incomplete part in its place. REQUIRES: `text` is not empty.
Step First(std::string_view text) {
  const auto lead = static_cast<uint8_t>(text[0]);
  if (lead < 0x80) return {Found::kCharacter, 1};
  const size_t followers = Followers(lead);
  if (followers == 0) return {Found::kInvalid, 1};
  for (size_t i = 1; i <= followers; ++i) {
    if (i == text.size()) return {Found::kIncomplete, i};
    const Range range = i == 1 ? SecondByte(lead) : Range{0x80, 0xBF};
    if (!range.Has(static_cast<uint8_t>(text[i]))) return {Found::kInvalid, i};
  }
  return {Found::kCharacter, followers + 1};
}

}  // namespace

std::string Utf8Holder::Feed(std::string_view bytes) {
  pending_.append(bytes);
  std::string out;
  out.reserve(pending_.size());
  std::string_view rest = pending_;
  while (!rest.empty()) {
    const Step step = First(rest);
    if (step.found == Found::kIncomplete) break;
    out.append(step.found == Found::kCharacter ? rest.substr(0, step.size) : kReplacement);
    rest.remove_prefix(step.size);
  }
  pending_.erase(0, pending_.size() - rest.size());
  return out;
}

std::string Utf8Holder::Flush() {
  return std::string(std::exchange(pending_, {}).empty() ? std::string_view() : kReplacement);
}

std::string ValidUtf8(std::string_view bytes) {
  Utf8Holder holder;
  std::string out = holder.Feed(bytes);
  return out += holder.Flush();
}

}  // namespace penstock
