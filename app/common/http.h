// One HTTP request with libcurl, with error messages for users.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace penstock {

struct HttpResponse {
  long status = 0;
  std::map<std::string, std::string> headers{};  // names in lower case; of the last response if redirected
  std::string body{};                            // empty when on_body took it
  std::string certificate{};                     // the server's, in PEM, if show_certificate was set

  // Empty if absent.
  std::string Header(const std::string& lower_case_name) const;
};

struct HttpRequest {
  std::string method = "GET";
  std::string url;
  std::vector<std::string> headers{};  // "Name: value"
  std::string body{};
  bool follow_redirects = false;
  // Authenticates the server by this public key ("sha256//…") instead of by a trusted CA.
  std::string pin{};
  bool show_certificate = false;  // and trust any certificate: only to look at it, never to send a key
  Nanos connect_timeout = 5 * kSecond;
  Nanos stall_timeout = 0;  // ends the request after this time without a byte; 0: never
  Nanos total_timeout = 0;  // 0: none
  // Called once, before the first byte of the body. An Error ends the request with it.
  std::function<Status(const HttpResponse&)> on_headers{};
  // Gets the body as it arrives, instead of HttpResponse::body. An Error ends the request with it.
  std::function<Status(std::string_view)> on_body{};
  // Asked about once a second, and after each signal; true ends the request with kCancelled. Empty: never.
  std::function<bool()> stop{};
};

// Any HTTP status is a response. Errors: kUnavailable (names the host and the reason: no such host, nothing
// listens there, no answer in time, connection lost), kUnauthenticated (the TLS certificate is not trusted),
// or the Error of a callback.
Result<HttpResponse> SendHttp(const HttpRequest& request);

// How long a 429 or 503 asks to wait (RFC 9110, 10.2.3: seconds or a date); 0: no time is given.
Nanos RetryAfter(const HttpResponse& response, Nanos wall_now);

std::string UrlEscape(std::string_view text);

}  // namespace penstock
