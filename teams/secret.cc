#include "teams/secret.h"

#include <openssl/evp.h>
#include <openssl/rand.h>

#include <memory>

#include "base/check.h"

namespace penstock {

void RandomBytes(std::span<std::byte> out) {
  const int ok = RAND_bytes(reinterpret_cast<unsigned char*>(out.data()), static_cast<int>(out.size()));
  PENSTOCK_CHECK(ok == 1);
}

std::string NewSecret() {
  constexpr std::string_view digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  std::string secret(kSecretPrefix);
  while (secret.size() < kSecretPrefix.size() + kSecretLength) {
    std::byte byte;
    RandomBytes({&byte, 1});
    const size_t six_bits =
        static_cast<size_t>(byte) & 63;  // 62 and 63 are drawn again: no digit is favoured
    if (six_bits < digits.size()) secret += digits[six_bits];
  }
  return secret;
}

std::string ShownPart(std::string_view secret) {
  return std::string(secret.substr(0, kSecretPrefix.size() + kShownLength));
}

Digest Sha256(std::string_view text) {
  // Fetched once: the lookup costs more than the hash.
  static EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  thread_local const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                                     &EVP_MD_CTX_free);
  Digest digest;
  const bool ok = EVP_DigestInit_ex2(context.get(), algorithm, nullptr) == 1 &&
                  EVP_DigestUpdate(context.get(), text.data(), text.size()) == 1 &&
                  EVP_DigestFinal_ex(context.get(), digest.data(), nullptr) == 1;
  PENSTOCK_CHECK(ok);
  return digest;
}

}  // namespace penstock
