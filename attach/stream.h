// Stream: one connection to an upstream, plain or TLS (verified by the system's authorities), with a limit on
// every wait. The only file that knows sockets.
// Threads: the io_context's one.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

namespace penstock {

struct Url {
  bool tls = false;
  std::string host, port, path;  // the path without a trailing slash: "", "/prefix"
  std::string Authority() const;
};
// http(s)://HOST[:PORT][/PATH]; "/v1" at its end is taken off, as people paste it.
Result<Url> ParseUrl(std::string_view text);

class Stream {
 public:
  virtual ~Stream() = default;
  virtual boost::asio::awaitable<Status> Write(std::string_view bytes, Nanos limit) = 0;
  // 0: the peer ended.
  virtual boost::asio::awaitable<Result<size_t>> Read(std::span<char> space, Nanos limit) = 0;
  // Whatever waits on it ends at once.
  virtual void Close() = 0;
};

// Errors: kUnavailable: no such host, nothing listens, no trust.
boost::asio::awaitable<Result<std::unique_ptr<Stream>>> Connect(const Url& url, Nanos limit);

}  // namespace penstock
