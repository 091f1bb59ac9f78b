// Url: where an upstream is, as people write it.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace penstock {

struct Url {
  bool tls = false;
  std::string host, port, path;  // the path without a trailing slash: "", "/prefix"
  std::string Authority() const;
  std::string Text() const;  // without the path: "https://gpu7:8443"
};
// http(s)://HOST[:PORT][/PATH]; "/v1" at its end is taken off, as people paste it.
Result<Url> ParseUrl(std::string_view text);

}  // namespace penstock
