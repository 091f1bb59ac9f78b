#include "teams/id.h"

#include <algorithm>

#include "teams/secret.h"

namespace penstock {
namespace {

constexpr std::string_view kPrefix = "req_";
constexpr std::string_view kDigits = "0123456789abcdefghjkmnpqrstvwxyz";
constexpr size_t kLength = 26;  // × 5 bits: 130, the top two are 0
using Wide = unsigned __int128;

}  // namespace

std::string FormatId(const RequestId& id) {
  Wide bits = (static_cast<Wide>(static_cast<uint64_t>(id.sequence)) << 64) | id.nonce;
  std::string text(kPrefix.size() + kLength, '0');
  std::ranges::copy(kPrefix, text.begin());
  for (size_t i = text.size(); i-- > kPrefix.size(); bits >>= 5)
    text[i] = kDigits[static_cast<size_t>(bits & 31)];
  return text;
}

Result<RequestId> ParseId(std::string_view text) {
  const auto wrong = [&] {
    return Fail(Code::kInvalid, "'{}' is not a request id; one has the form req_ and {} characters",
                text.substr(0, 64), kLength);
  };
  if (!text.starts_with(kPrefix) || text.size() != kPrefix.size() + kLength) return wrong();
  Wide bits = 0;
  for (const char c : text.substr(kPrefix.size())) {
    const size_t digit = kDigits.find(c);
    if (digit == std::string_view::npos || bits >> 123 != 0) return wrong();
    bits = bits << 5 | digit;
  }
  const RequestId id{static_cast<int64_t>(bits >> 64), static_cast<uint64_t>(bits)};
  if (id.sequence < 0) return wrong();
  return id;
}

RequestId IdSource::Next(Nanos wall) {
  if (nonces_.empty()) {
    nonces_.resize(512);
    RandomBytes(std::as_writable_bytes(std::span(nonces_)));
  }
  last_ = std::max(last_ + 1, SequenceAt(wall));
  const RequestId id{last_, nonces_.back()};
  nonces_.pop_back();
  return id;
}

}  // namespace penstock
