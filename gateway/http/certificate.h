// Certificates as people compare them: fingerprints, and one of our own where there is none.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace penstock {

struct Certificate {
  std::string
      fingerprint;  // SHA-256 of the whole, as `openssl x509 -fingerprint -sha256` writes it: "AB:CD:…"
  std::string pin;  // SHA-256 of its public key, as libcurl takes it: "sha256//…"
};
// The first certificate of a PEM text. Errors: kInvalid.
Result<Certificate> ReadCertificate(std::string_view pem);

// Two fingerprints as people write them: letter case, colons, spaces and a "sha256:" before do not matter.
bool SameFingerprint(std::string_view one, std::string_view other);

// A new key (ECDSA, P-256) and a certificate that it signs itself, for these host names and addresses, for
// ten years. Both as PEM. Errors: kInternal.
struct SelfSigned {
  std::string certificate, key;
};
Result<SelfSigned> MakeSelfSigned(const std::vector<std::string>& hosts);

}  // namespace penstock
