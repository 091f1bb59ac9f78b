#include "gateway/http/web_policy.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <boost/beast/core/string.hpp>

namespace penstock::gateway {
namespace {

using boost::beast::iequals;

// Without port, brackets and the dot of an absolute name.
std::string_view NameOf(std::string_view host) {
  if (host.starts_with('[')) return host.substr(1, std::min(host.find(']'), host.size()) - 1);
  host = host.substr(0, host.find(':'));
  if (host.ends_with('.')) host.remove_suffix(1);
  return host;
}

bool IsLocalhost(std::string_view name) {
  constexpr std::string_view kName = "localhost";
  if (name.size() < kName.size() || !iequals(name.substr(name.size() - kName.size()), kName)) return false;
  return name.size() == kName.size() || name[name.size() - kName.size() - 1] == '.';
}

bool Allows(const WebPolicy& policy, std::string_view origin) {
  return !origin.empty() && std::ranges::any_of(policy.cors_origins, [&](const std::string& allowed) {
    return allowed == "*" || iequals(allowed, origin);
  });
}

std::string_view HeaderValue(std::string_view text) {  // of a client's, as it came in a header
  constexpr size_t kMost = 1000;
  return text.substr(0, kMost);
}

}  // namespace

bool IsLoopbackHost(std::string_view host) {
  const std::string name(NameOf(host));
  in_addr v4{};
  in6_addr v6{};
  if (inet_pton(AF_INET, name.c_str(), &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
  if (inet_pton(AF_INET6, name.c_str(), &v6) == 1) return IN6_IS_ADDR_LOOPBACK(&v6) != 0;
  return IsLocalhost(name);
}

bool AllowsHost(const WebPolicy& policy, std::string_view host) {
  if (!policy.loopback || IsLoopbackHost(host)) return true;
  return std::ranges::any_of(policy.hosts, [&](const std::string& allowed) {
    return allowed == "*" || (!NameOf(host).empty() && iequals(NameOf(allowed), NameOf(host)));
  });
}

std::string AnswerHeaders(const WebPolicy& policy, const HttpRequest& request) {
  std::string headers;
  // "localhost" is shared with whatever else runs on this machine, so it must stay reachable without TLS.
  if (policy.tls && policy.hsts > 0 && !IsLocalhost(NameOf(request.host)))
    headers += fmt::format("strict-transport-security: max-age={}\r\n", policy.hsts / kSecond);
  if (policy.cors_origins.empty()) return headers;
  headers += "vary: origin\r\n";
  if (Allows(policy, request.origin)) {
    headers += fmt::format(
        "access-control-allow-origin: {}\r\n"
        "access-control-expose-headers: x-request-id, x-penstock-error, x-penstock-ignored, retry-after, "
        "x-should-retry, x-ratelimit-limit-requests, x-ratelimit-remaining-requests\r\n",
        HeaderValue(request.origin));
  }
  return headers;
}

std::optional<HttpResponse> Preflight(const WebPolicy& policy, const HttpRequest& request,
                                      std::string_view methods) {
  if (request.method != Method::kOptions || request.cors_method.empty() || !Allows(policy, request.origin))
    return std::nullopt;
  HttpResponse response;
  response.status = 204;
  response.headers = fmt::format(
      "allow: {0}\r\naccess-control-allow-methods: {0}\r\naccess-control-max-age: 600\r\n", methods);
  if (!request.cors_headers.empty())
    response.headers +=
        fmt::format("access-control-allow-headers: {}\r\n", HeaderValue(request.cors_headers));
  return response;
}

}  // namespace penstock::gateway
