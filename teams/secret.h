// Key secrets: "sk-penstock-" and 40 characters of base62 (238 bits). Only their SHA-256 is kept, which
// is enough for secrets that cannot be guessed; finding a digest in a hash table tells nothing about how
// much of a guess was right.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace penstock {

constexpr std::string_view kSecretPrefix = "sk-penstock-";
constexpr size_t kSecretLength = 40;  // after the prefix
constexpr size_t kShownLength = 6;    // after the prefix: enough to recognise a key by

// From OpenSSL's generator. Aborts if the machine has no randomness.
void RandomBytes(std::span<std::byte> out);

std::string NewSecret();
// What may be shown of a secret: its prefix and kShownLength characters.
std::string ShownPart(std::string_view secret);

using Digest = std::array<uint8_t, 32>;
Digest Sha256(std::string_view text);

struct DigestHash {
  size_t operator()(const Digest& digest) const {
    size_t hash;
    std::memcpy(&hash, digest.data(), sizeof hash);
    return hash;
  }
};

}  // namespace penstock
