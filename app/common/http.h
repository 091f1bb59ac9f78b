// One HTTP request, made by libcurl, with errors that people understand.
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
  std::string certificate{};                     // the server's, in PEM; where it was asked for

  // Empty where absent.
  std::string Header(const std::string& lower_case_name) const;
};

struct HttpRequest {
  std::string method = "GET";
  std::string url;
  std::vector<std::string> headers{};  // "Name: value"
  std::string body{};
  bool follow_redirects = false;
  // The server is known by its public key ("sha256//…") instead of by a certificate that others vouch for.
  std::string pin{};
  bool show_certificate = false;  // and trust any: to look at it, never to send a key
  Nanos connect_timeout = 5 * kSecond;
  Nanos stall_timeout = 0;  // no byte for so long ends it; 0: never
  Nanos total_timeout = 0;  // 0: none
  // Called once, before the first byte of the body. An Error ends the request with it.
  std::function<Status(const HttpResponse&)> on_headers{};
  // Takes the body as it comes, instead of HttpResponse::body. An Error ends the request with it.
  std::function<Status(std::string_view)> on_body{};
};

// Any HTTP status is a response. Errors: kUnavailable (names the host and why: no such host, nothing
// listens there, no answer in time, cut), kUnauthenticated (TLS: it is not who it should be), or what a
// callback returned.
Result<HttpResponse> SendHttp(const HttpRequest& request);

// How long a 429 or 503 asks to wait (RFC 9110, 10.2.3: seconds or a date); 0: it does not say.
Nanos RetryAfter(const HttpResponse& response, Nanos wall_now);

std::string UrlEscape(std::string_view text);

}  // namespace penstock
