// Cookie: what the acceptance of a streamed piece means, packed into the 64 bits that a Reply carries.
#pragma once

#include <cstdint>

namespace penstock::gateway {

// So many tokens of a choice to bill, and to grant to the engine again.
struct Cookie {
  uint32_t choice = 0, bill = 0, grant = 0;
  bool last = false;

  static constexpr int kBits = 24;
  static constexpr uint64_t kMask = (1U << kBits) - 1;
  uint64_t Pack() const {
    return uint64_t{last} << 62 | uint64_t{choice} << 48 | uint64_t{bill} << kBits | grant;
  }
  static Cookie Unpack(uint64_t packed) {
    return {.choice = static_cast<uint32_t>(packed >> 48 & 0x3fff),
            .bill = static_cast<uint32_t>(packed >> kBits & kMask),
            .grant = static_cast<uint32_t>(packed & kMask),
            .last = (packed >> 62 & 1) != 0};
  }
};

}  // namespace penstock::gateway
