// Authority: a certificate authority for tests, which vouches for whatever it is asked to.
#pragma once

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>

namespace penstock {

class Authority {
 public:
  struct Wanted {
    std::string hosts = "DNS:localhost,IP:127.0.0.1";
    long from_day = -1, to_day = 1;  // from today
  };
  struct Issued {
    std::string certificate, key;  // PEM
  };

  // Signed by itself, or by `above`.
  explicit Authority(const std::string& name, const Authority* above = nullptr)
      : self_(Make(name, key_.get(), above, {})) {}

  Issued Issue(const Wanted& wanted) const { return Make("server", wanted, this); }
  static Issued SelfSigned() { return Make("server", Wanted{}, nullptr); }
  std::string certificate() const { return Pem(self_.get()); }

 private:
  template <auto Free>
  struct Freed {
    void operator()(auto* object) const { Free(object); }
  };
  using Certificate = std::unique_ptr<X509, Freed<X509_free>>;
  using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;
  using Bio = std::unique_ptr<BIO, Freed<BIO_free>>;

  static std::string Text(BIO* bio) {
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    return {data, static_cast<size_t>(size)};
  }
  static std::string Pem(X509* certificate) {
    const Bio bio(BIO_new(BIO_s_mem()));
    PEM_write_bio_X509(bio.get(), certificate);
    return Text(bio.get());
  }
  static void Extend(X509* certificate, X509* issuer, int kind, const char* value) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
  }
  static Issued Make(const std::string& name, const Wanted& wanted, const Authority* signer) {
    const Key key(EVP_EC_gen("P-256"));
    const Certificate made = Make(name, key.get(), signer, wanted.hosts, wanted.from_day, wanted.to_day);
    const Bio bio(BIO_new(BIO_s_mem()));
    PEM_write_bio_PrivateKey(bio.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr);
    return {.certificate = Pem(made.get()), .key = Text(bio.get())};
  }
  // Without hosts it is an authority's.
  static Certificate Make(const std::string& name, EVP_PKEY* key, const Authority* signer,
                          const std::string& hosts, long from_day = -1, long to_day = 1) {
    static long serial = 1;
    Certificate made(X509_new());
    X509_set_version(made.get(), X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(made.get()), ++serial);
    X509_time_adj_ex(X509_getm_notBefore(made.get()), static_cast<int>(from_day), 0, nullptr);
    X509_time_adj_ex(X509_getm_notAfter(made.get()), static_cast<int>(to_day), 0, nullptr);
    X509_NAME* const subject = X509_get_subject_name(made.get());
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                               reinterpret_cast<const unsigned char*>(name.data()),
                               static_cast<int>(name.size()), -1, 0);
    X509* const issuer = signer == nullptr ? made.get() : signer->self_.get();
    X509_set_issuer_name(made.get(), X509_get_subject_name(issuer));
    X509_set_pubkey(made.get(), key);
    Extend(made.get(), issuer, NID_basic_constraints,
           hosts.empty() ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (!hosts.empty()) Extend(made.get(), issuer, NID_subject_alt_name, hosts.c_str());
    X509_sign(made.get(), signer == nullptr ? key : signer->key_.get(), EVP_sha256());
    return made;
  }

  const Key key_{EVP_EC_gen("P-256")};
  const Certificate self_;
};

}  // namespace penstock
