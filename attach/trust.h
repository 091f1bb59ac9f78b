// Trust: which TLS servers are trusted; for one that is not, the reason and the remedy.
// Threads: one; made before the first connection, because reading a system's authorities takes milliseconds.
#pragma once

#include <openssl/types.h>

#include <boost/asio/ssl/context.hpp>
#include <memory>
#include <string>

#include "base/result.h"

namespace penstock {

class Trust {
 public:
  // `authorities`: a file of certificates (PEM) that are trusted in place of the system's; empty: the
  // system's. Errors: kInvalid: the file cannot be read, or holds none.
  static Result<std::shared_ptr<Trust>> In(const std::string& authorities);

  boost::asio::ssl::context& context() { return context_; }
  // Before the handshake: the server must prove that it is `host`, a name or an address.
  static bool Require(SSL* connection, const std::string& host);
  // During it: what is wrong with the certificate that was just refused, and how to fix it.
  std::string WhyNot(X509_STORE_CTX* refused, const std::string& host) const;

 private:
  explicit Trust(std::string authorities) : authorities_(std::move(authorities)) {}

  const std::string authorities_;
  boost::asio::ssl::context context_{boost::asio::ssl::context::tls_client};
};

}  // namespace penstock
