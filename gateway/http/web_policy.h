// WebPolicy: what browsers may do with this server: which sites' pages may read its answers (CORS), which
// host names reach it without a key, and whether plain HTTP stays possible. Pure.
//
// On a loopback address every page that a user opens can send requests here, and a page whose DNS name was
// changed to 127.0.0.1 could read the answers too (DNS rebinding); its requests carry that name in Host.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "gateway/http/http.h"

namespace penstock::gateway {

struct WebPolicy {
  bool tls = false;
  bool loopback = false;                  // only this machine can connect
  std::vector<std::string> hosts;         // beside the loopback names; "*": any
  std::vector<std::string> cors_origins;  // "https://app.example.com", "*": any; empty: no other site
  Nanos hsts = 0;                         // how long browsers insist on TLS; 0: it is not said
};

// "localhost", "x.localhost", an address of 127.0.0.0/8 or [::1], with or without a port.
bool IsLoopbackHost(std::string_view host);
// Whether a request without a key may come with this Host.
bool AllowsHost(const WebPolicy& policy, std::string_view host);

// The headers that every answer to `request` has: CORS and HSTS.
std::string AnswerHeaders(const WebPolicy& policy, const HttpRequest& request);
// The answer to a CORS preflight; nullopt: it is none, or its origin is not allowed. `methods`: of the path.
std::optional<HttpResponse> Preflight(const WebPolicy& policy, const HttpRequest& request,
                                      std::string_view methods);

}  // namespace penstock::gateway
