#include "attach/trust.h"

#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <ctime>
#include <vector>

namespace penstock {
namespace {

using boost::system::error_code;

constexpr size_t kMostNames = 5;

std::string Time(const tm& time) {
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", &time)};
}

std::string Time(const ASN1_TIME* asn1) {
  tm time{};
  return ASN1_TIME_to_tm(asn1, &time) == 1 ? Time(time) : "an unreadable time";
}

std::string Now() {
  const time_t now = std::time(nullptr);
  tm time{};
  return Time(*gmtime_r(&now, &time));
}

// The most telling part of a name: "Acme Root CA".
std::string NameIn(const X509_NAME* name) {
  for (const int kind : {NID_commonName, NID_organizationalUnitName, NID_organizationName}) {
    char text[256];
    if (X509_NAME_get_text_by_NID(const_cast<X509_NAME*>(name), kind, text, sizeof text) > 0) return text;
  }
  return "somebody without a name";
}

// For whom a certificate is: names and addresses.
std::string Hosts(const X509* certificate) {
  std::vector<std::string> hosts;
  auto* const names =
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names, i);
    if (name->type == GEN_DNS) {
      hosts.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.dNSName)),
                         static_cast<size_t>(ASN1_STRING_length(name->d.dNSName)));
    } else if (name->type == GEN_IPADD) {
      char* const text = i2s_ASN1_OCTET_STRING(nullptr, name->d.iPAddress);  // hexadecimal
      const unsigned char* byte = ASN1_STRING_get0_data(name->d.iPAddress);
      const bool short_one = ASN1_STRING_length(name->d.iPAddress) == 4;
      hosts.push_back(short_one ? fmt::format("{}.{}.{}.{}", byte[0], byte[1], byte[2], byte[3]) : text);
      OPENSSL_free(text);
    }
  }
  GENERAL_NAMES_free(names);
  if (hosts.empty()) return NameIn(X509_get_subject_name(certificate));
  const bool more = hosts.size() > kMostNames;
  if (more) hosts.resize(kMostNames);
  return fmt::format("{}{}", fmt::join(hosts, ", "), more ? ", …" : "");
}

}  // namespace

Result<std::shared_ptr<Trust>> Trust::In(const std::string& authorities) {
  std::shared_ptr<Trust> trust(new Trust(authorities));
  error_code error;
  SSL_CTX* const context = trust->context_.native_handle();
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION);
  trust->context_.set_verify_mode(boost::asio::ssl::verify_peer, error);
  if (authorities.empty()) {
    trust->context_.set_default_verify_paths(error);
    if (error)
      return Fail(Code::kInvalid, "the CA certificates of the system cannot be read: {}", error.message());
    return trust;
  }
  trust->context_.load_verify_file(authorities, error);
  if (error) {
    return Fail(Code::kInvalid, "engine.url_ca: {} contains no readable PEM certificate: {}", authorities,
                error.message());
  }
  // Whatever is named here is trusted, be it another authority's own.
  X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context), X509_V_FLAG_PARTIAL_CHAIN);
  return trust;
}

bool Trust::Require(SSL* connection, const std::string& host) {
  X509_VERIFY_PARAM* const param = SSL_get0_param(connection);
  if (X509_VERIFY_PARAM_set1_ip_asc(param, host.c_str()) == 1) return true;
  X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  // Which of its certificates the server shows, where it has several.
  return X509_VERIFY_PARAM_set1_host(param, host.c_str(), 0) == 1 &&
         SSL_set_tlsext_host_name(connection, host.c_str()) == 1;
}

std::string Trust::WhyNot(X509_STORE_CTX* refused, const std::string& host) const {
  const X509* const certificate = X509_STORE_CTX_get_current_cert(refused);
  const int depth = X509_STORE_CTX_get_error_depth(refused), error = X509_STORE_CTX_get_error(refused);
  const std::string whose =
      depth == 0 || certificate == nullptr
          ? "its certificate"
          : fmt::format("its certificate's authority '{}'", NameIn(X509_get_subject_name(certificate)));
  switch (error) {
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      return fmt::format(
          "its certificate is for {}, not for {}: use a name that the certificate contains, or give the "
          "server "
          "a certificate for this name",
          Hosts(certificate), host);
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return fmt::format("{} expired on {}, and this machine's clock says {}: renew it", whose,
                         Time(X509_get0_notAfter(certificate)), Now());
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return fmt::format("{} is valid from {} on, and this machine's clock says {}: one of the two is wrong",
                         whose, Time(X509_get0_notBefore(certificate)), Now());
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
      return "its certificate is not trusted (self-signed): if it is the right server, set engine.url_ca to "
             "a file "
             "with this certificate (PEM)";
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
      return fmt::format(
          "its certificate is not trusted: it was issued by '{}', a CA that {} not include: set "
          "engine.url_ca "
          "to a file with the certificate of this CA (PEM), or make the server send its complete chain",
          NameIn(X509_get_issuer_name(certificate)),
          authorities_.empty() ? "this machine's list does" : authorities_ + " does");
    default:
      return fmt::format("{} is refused: {}", whose, X509_verify_cert_error_string(error));
  }
}

}  // namespace penstock
