// Stream: one connection to an upstream, plain or TLS, with a limit on every wait. The only file that knows
// sockets.
// Threads: the io_context's one.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "attach/trust.h"
#include "attach/url.h"
#include "base/clock.h"
#include "base/result.h"

namespace penstock {

class Stream {
 public:
  virtual ~Stream() = default;
  virtual boost::asio::awaitable<Status> Write(std::string_view bytes, Nanos limit) = 0;
  // 0: the peer ended.
  virtual boost::asio::awaitable<Result<size_t>> Read(std::span<char> space, Nanos limit) = 0;
  // Pending reads and writes end at once.
  virtual void Close() = 0;
};

// REQUIRES: `trust`, where the URL is https; it outlives the stream. Errors: kUnavailable: no such host,
// nothing listens, no trust.
boost::asio::awaitable<Result<std::unique_ptr<Stream>>> Connect(const Url& url, Trust* trust, Nanos limit);

}  // namespace penstock
