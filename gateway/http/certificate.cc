#include "gateway/http/certificate.h"

#include <arpa/inet.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <array>
#include <cctype>
#include <memory>
#include <span>

namespace penstock {
namespace {

template <auto Free>
struct Freed {
  void operator()(auto* object) const { Free(object); }
};
using X509Ptr = std::unique_ptr<X509, Freed<X509_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
using BioPtr = std::unique_ptr<BIO, Freed<BIO_free>>;
using ExtensionPtr = std::unique_ptr<X509_EXTENSION, Freed<X509_EXTENSION_free>>;

using Sha256Bytes = std::array<unsigned char, 32>;

std::string Hex(const Sha256Bytes& bytes) {
  return fmt::format("{:02X}", fmt::join(bytes, ":"));
}

std::string Base64(std::span<const unsigned char> bytes) {
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');
  text.resize(static_cast<size_t>(EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), bytes.data(),
                                                  static_cast<int>(bytes.size()))));
  return text;
}

std::string Text(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<size_t>(size)};
}

bool IsAddress(const std::string& host) {
  std::array<unsigned char, 16> bytes{};
  return inet_pton(AF_INET, host.c_str(), bytes.data()) == 1 ||
         inet_pton(AF_INET6, host.c_str(), bytes.data()) == 1;
}

bool AddExtension(X509* certificate, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  const ExtensionPtr extension(X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str()));
  return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

// RFC 5280: a unique positive serial number.
bool SetSerial(X509* certificate) {
  std::array<unsigned char, 16> bytes{};
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1) return false;
  bytes[0] = (bytes[0] & 0x7f) | 0x40;
  const std::unique_ptr<BIGNUM, Freed<BN_free>> number(
      BN_bin2bn(bytes.data(), static_cast<int>(bytes.size()), nullptr));
  return number && BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr;
}

bool Describe(X509* certificate, EVP_PKEY* key, const std::vector<std::string>& hosts) {
  std::string names;
  for (const std::string& host : hosts) {
    names += fmt::format("{}{}:{}", names.empty() ? "" : ",", IsAddress(host) ? "IP" : "DNS", host);
  }
  X509_NAME* const name = X509_get_subject_name(certificate);
  constexpr std::string_view kName = "Penstock";
  return X509_set_version(certificate, X509_VERSION_3) == 1 && SetSerial(certificate) &&
         X509_gmtime_adj(X509_getm_notBefore(certificate), -24L * 3600) != nullptr &&
         X509_gmtime_adj(X509_getm_notAfter(certificate), 3650L * 24 * 3600) != nullptr &&
         X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                    reinterpret_cast<const unsigned char*>(kName.data()),
                                    static_cast<int>(kName.size()), -1, 0) == 1 &&
         X509_set_issuer_name(certificate, name) == 1 && X509_set_pubkey(certificate, key) == 1 &&
         AddExtension(certificate, NID_basic_constraints, "critical,CA:FALSE") &&
         AddExtension(certificate, NID_key_usage, "critical,digitalSignature") &&
         AddExtension(certificate, NID_ext_key_usage, "serverAuth") &&
         AddExtension(certificate, NID_subject_alt_name, names);
}

std::string Plain(std::string_view fingerprint) {
  std::string plain;
  for (const char c : fingerprint) {
    if (std::isxdigit(static_cast<unsigned char>(c)) != 0) {
      plain += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    } else if (c != ':' && c != ' ') {
      return {};
    }
  }
  return plain;
}

std::string_view WithoutName(std::string_view fingerprint) {
  for (const std::string_view name : {"sha256:", "SHA256:"}) {
    if (fingerprint.starts_with(name)) return fingerprint.substr(name.size());
  }
  return fingerprint;
}

}  // namespace

Result<Certificate> ReadCertificate(std::string_view pem) {
  const BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  const X509Ptr x509(bio ? PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr) : nullptr);
  if (!x509) return Fail(Code::kInvalid, "it is no certificate in PEM");
  Sha256Bytes whole{}, key{};
  unsigned int size = 0;
  unsigned char* der = nullptr;
  const int length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x509.get()), &der);
  const std::unique_ptr<unsigned char, decltype([](unsigned char* p) { OPENSSL_free(p); })> owned(der);
  if (length <= 0 || X509_digest(x509.get(), EVP_sha256(), whole.data(), &size) != 1 ||
      EVP_Digest(der, static_cast<size_t>(length), key.data(), &size, EVP_sha256(), nullptr) != 1) {
    return Fail(Code::kInvalid, "the certificate cannot be read");
  }
  return Certificate{.fingerprint = Hex(whole), .pin = "sha256//" + Base64(key)};
}

bool SameFingerprint(std::string_view one, std::string_view other) {
  const std::string plain = Plain(WithoutName(one));
  return plain.size() == 2 * Sha256Bytes().size() && plain == Plain(WithoutName(other));
}

Result<SelfSigned> MakeSelfSigned(const std::vector<std::string>& hosts) {
  const KeyPtr key(EVP_EC_gen("P-256"));
  const X509Ptr x509(X509_new());
  const BioPtr certificate(BIO_new(BIO_s_mem())), secret(BIO_new(BIO_s_mem()));
  const bool made =
      key && x509 && certificate && secret && Describe(x509.get(), key.get(), hosts) &&
      X509_sign(x509.get(), key.get(), EVP_sha256()) > 0 &&
      PEM_write_bio_X509(certificate.get(), x509.get()) == 1 &&
      PEM_write_bio_PrivateKey(secret.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1;
  if (!made) return Fail(Code::kInternal, "OpenSSL cannot make a certificate for {}", fmt::join(hosts, ", "));
  return SelfSigned{.certificate = Text(certificate.get()), .key = Text(secret.get())};
}

}  // namespace penstock
