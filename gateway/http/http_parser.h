// One HTTP/1.x request from bytes (RFC 9112), by Boost.Beast's parser: fed as bytes come, never blocks.
//
// Strict where proxies and servers might read the same bytes differently (request smuggling): what does not
// say in one way only where a message ends, or for which host and key it is, is refused and closes the
// connection. request_head.h has those rules.
#pragma once

#include <memory>
#include <optional>
#include <string_view>

#include "gateway/common/api_error.h"
#include "gateway/http/http.h"

namespace penstock::gateway {

struct HttpLimits {
  size_t header_bytes = 32 << 10;
  size_t body_bytes = 16 << 20;
};

class HttpParser {
 public:
  HttpParser(HttpLimits limits, HttpRequest& request);  // fills `request`, which must outlive it
  ~HttpParser();

  // Takes bytes from the head of `data`, which must start where the last call stopped taking; returns how
  // many. An unfinished header takes none: call again with more behind it.
  // Errors: 400 (malformed), 413, 415, 417, 431, 501, 505. The connection cannot be used for more requests
  // after one.
  ApiResult<size_t> Put(std::string_view data);
  bool header_done() const;
  bool done() const;
  // Bytes of body still to come, if the client said so.
  std::optional<uint64_t> body_left() const;

 private:
  ApiResult<bool> CompleteHead(std::string_view data);
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace penstock::gateway
