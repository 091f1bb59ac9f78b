#include "attach/url.h"

#include <algorithm>

namespace penstock {

std::string Url::Authority() const {
  const std::string name = host.find(':') == std::string::npos ? host : "[" + host + "]";
  return port == (tls ? "443" : "80") ? name : name + ":" + port;
}

std::string Url::Text() const {
  return (tls ? "https://" : "http://") + Authority();
}

Result<Url> ParseUrl(std::string_view text) {
  const auto bad = [&] {
    return Fail(Code::kInvalid, "must be http://HOST:PORT or https://HOST, not '{}'", text);
  };
  Url url;
  std::string_view rest = text;
  if (rest.starts_with("https://"))
    url.tls = true;
  else if (!rest.starts_with("http://"))
    return bad();
  rest.remove_prefix(url.tls ? 8 : 7);
  const size_t slash = std::min(rest.find('/'), rest.size());
  std::string_view authority = rest.substr(0, slash);
  url.path = rest.substr(slash);
  while (url.path.ends_with('/')) url.path.pop_back();
  if (url.path.ends_with("/v1")) url.path.resize(url.path.size() - 3);
  const size_t colon = authority.rfind(':');
  const bool has_port = colon != std::string_view::npos && !authority.ends_with(']');
  url.port = has_port ? authority.substr(colon + 1) : url.tls ? "443" : "80";
  if (has_port) authority = authority.substr(0, colon);
  if (authority.starts_with('[') && authority.ends_with(']'))
    authority = authority.substr(1, authority.size() - 2);
  url.host = authority;
  const auto odd = [](unsigned char c) { return c <= ' ' || c == '@' || c == '?' || c == '#' || c >= 0x7F; };
  if (url.host.empty() || url.port.empty() || std::ranges::any_of(url.host, odd) ||
      std::ranges::any_of(url.path, odd) ||
      !std::ranges::all_of(url.port, [](char c) { return c >= '0' && c <= '9'; })) {
    return bad();
  }
  return url;
}

}  // namespace penstock
