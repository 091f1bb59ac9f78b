// TLS over a non-blocking socket: a certificate's context, and one connection's session. All that is asked of
// OpenSSL's libssl is asked here; waiting for the socket is the caller's.
//
// A session says what it took or gave, and what it waits for. `Write` counts a byte only when the record that
// holds it has gone to the socket whole: what is billed by acceptance stays exact. TLS 1.2 and later, no
// renegotiation, no sessions kept.
// Threads: each session one; a context any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_st SSL;

namespace penstock::gateway {

class TlsSession {
 public:
  enum class Wait : uint8_t { kNothing, kReadable, kWritable, kEnd };  // kEnd: the peer closed, or it broke
  struct Step {
    size_t bytes = 0;
    Wait wait = Wait::kNothing;
  };

  // `fd`: non-blocking, connected, owned by the caller, who closes it after this is gone.
  TlsSession(SSL_CTX* context, int fd);
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  // kNothing: done. On kEnd an alert has been sent if the socket took it.
  Wait Handshake();
  Step Read(char* data, size_t size);
  // After a call that took less than all, the next one must begin with the bytes that were not taken.
  Step Write(std::string_view bytes);
  // Decrypted bytes wait here: the socket may never become readable for them.
  bool HasRead() const;
  // Says that nothing follows, if the socket takes it now.
  void CloseNotify();

 private:
  Wait WaitFor(int result);
  SSL* const ssl_;
};

class TlsContext {
 public:
  // PEM files: the certificate, with its chain behind it, and its key. Errors name the file and what is
  // wrong.
  static Result<std::unique_ptr<TlsContext>> Load(const std::string& certificate, const std::string& key);
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

  const std::string& fingerprint() const { return fingerprint_; }
  std::unique_ptr<TlsSession> Accept(int fd) const { return std::make_unique<TlsSession>(context_, fd); }

 private:
  explicit TlsContext(SSL_CTX* context) : context_(context) {}
  SSL_CTX* const context_;
  std::string fingerprint_;
};

// Whether a connection's first byte begins a TLS handshake.
constexpr bool BeginsTls(char first) {
  return first == 0x16;
}

}  // namespace penstock::gateway
