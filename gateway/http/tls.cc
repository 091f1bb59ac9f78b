#include "gateway/http/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <fstream>

#include "base/check.h"
#include "gateway/http/certificate.h"

namespace penstock::gateway {
namespace {

std::string LastError() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  if (ERR_SYSTEM_ERROR(code)) return std::strerror(static_cast<int>(ERR_GET_REASON(code)));
  const char* const reason = ERR_reason_error_string(code);
  return reason != nullptr ? reason : "unknown";
}

// For SSL_read and SSL_write, which take int.
int Clamped(size_t size) {
  return static_cast<int>(std::min<size_t>(size, 1 << 30));
}

}  // namespace

TlsSession::TlsSession(SSL_CTX* context, int fd) : ssl_(SSL_new(context)) {
  PENSTOCK_CHECK(ssl_ != nullptr && SSL_set_fd(ssl_, fd) == 1);
  SSL_set_accept_state(ssl_);
}

TlsSession::~TlsSession() {
  SSL_free(ssl_);
}

TlsSession::Wait TlsSession::WaitFor(int result) {
  switch (SSL_get_error(ssl_, result)) {
    case SSL_ERROR_NONE:
      return Wait::kNothing;
    case SSL_ERROR_WANT_READ:
      return Wait::kReadable;
    case SSL_ERROR_WANT_WRITE:
      return Wait::kWritable;
    default:
      ERR_clear_error();
      return Wait::kEnd;
  }
}

TlsSession::Wait TlsSession::Handshake() {
  ERR_clear_error();
  return WaitFor(SSL_do_handshake(ssl_));
}

TlsSession::Step TlsSession::Read(char* data, size_t size) {
  ERR_clear_error();
  const int got = SSL_read(ssl_, data, Clamped(size));
  if (got > 0) return {.bytes = static_cast<size_t>(got)};
  return {.wait = WaitFor(got)};
}

// One call writes one record of up to 16 KB.
TlsSession::Step TlsSession::Write(std::string_view bytes) {
  Step step;
  while (step.bytes < bytes.size() && step.wait == Wait::kNothing) {
    ERR_clear_error();
    const std::string_view rest = bytes.substr(step.bytes);
    const int sent = SSL_write(ssl_, rest.data(), Clamped(rest.size()));
    if (sent > 0) {
      step.bytes += static_cast<size_t>(sent);
    } else {
      step.wait = WaitFor(sent);
    }
  }
  return step;
}

bool TlsSession::HasRead() const {
  return SSL_pending(ssl_) > 0;
}

void TlsSession::CloseNotify() {
  ERR_clear_error();
  SSL_shutdown(ssl_);
  ERR_clear_error();
}

Result<std::unique_ptr<TlsContext>> TlsContext::Load(const std::string& certificate, const std::string& key) {
  // OpenSSL writes to sockets by write(2), which would end this process when a client has left.
  std::signal(SIGPIPE, SIG_IGN);
  ERR_clear_error();
  std::unique_ptr<TlsContext> context(new TlsContext(SSL_CTX_new(TLS_server_method())));
  SSL_CTX* const ssl = context->context_;
  PENSTOCK_CHECK(ssl != nullptr);
  SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION);
  // TLS 1.2 with forward secrecy and authenticated encryption only: no CBC suites. TLS 1.3 has no others.
  PENSTOCK_CHECK(SSL_CTX_set_cipher_list(ssl, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1);
  SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_mode(
      ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
  // A key with a passphrase is refused: nothing could answer the prompt.
  SSL_CTX_set_default_passwd_cb(ssl, [](char*, int, int, void*) { return -1; });
  if (SSL_CTX_use_certificate_chain_file(ssl, certificate.c_str()) != 1) {
    return Fail(Reason::kBadSetting, "the TLS certificate {} cannot be used ({}); it must be a PEM file",
                certificate, LastError());
  }
  if (SSL_CTX_use_PrivateKey_file(ssl, key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return Fail(
        Reason::kBadSetting,
        "the TLS key {} cannot be used with {} ({}); it must be its key, a PEM file without a passphrase",
        key, certificate, LastError());
  }
  std::ifstream file(certificate);
  const std::string pem{std::istreambuf_iterator<char>(file), {}};
  PENSTOCK_ASSIGN(const Certificate read, ReadCertificate(pem));
  context->fingerprint_ = read.fingerprint;
  return context;
}

TlsContext::~TlsContext() {
  SSL_CTX_free(context_);
}

}  // namespace penstock::gateway
