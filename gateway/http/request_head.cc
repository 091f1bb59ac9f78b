#include "gateway/http/request_head.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <boost/beast/core/string.hpp>
#include <cctype>

namespace penstock::gateway {
namespace {

using boost::beast::iequals;

std::unexpected<ApiError> Bad(std::string message, int status = 400) {
  return std::unexpected(BadHttp(std::move(message), status));
}

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return lower;
}

bool StartsWithIgnoringCase(std::string_view text, std::string_view start) {
  return text.size() >= start.size() && iequals(text.substr(0, start.size()), start);
}

// uri-host [ ":" port ] (RFC 9110, 7.2), which may be empty. User names in it are refused (4.2.4).
bool IsAuthority(std::string_view text) {
  const auto is_port = [](std::string_view port) {
    return port.size() <= 5 && std::ranges::all_of(port, [](char c) { return c >= '0' && c <= '9'; });
  };
  std::string_view port;
  if (text.starts_with('[')) {
    const size_t end = text.find(']');
    if (end == std::string_view::npos || end == 1) return false;
    const auto of_address = [](char c) {
      return std::isxdigit(static_cast<unsigned char>(c)) != 0 || c == ':' || c == '.';
    };
    if (!std::ranges::all_of(text.substr(1, end - 1), of_address)) return false;
    port = text.substr(end + 1);
    return port.empty() || (port.starts_with(':') && is_port(port.substr(1)));
  }
  const size_t colon = std::min(text.find(':'), text.size());
  const auto of_name = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           std::string_view("-._~%!$&'()*+,;=").contains(c);
  };
  return std::ranges::all_of(text.substr(0, colon), of_name) &&
         (colon == text.size() || is_port(text.substr(colon + 1)));
}

// How the body's length is given (RFC 9112, 6.1 and 6.3).
ApiResult<void> CheckLength(const HeadFields& fields, bool http10) {
  const bool chunked = !fields.transfer_encoding.empty();
  if (chunked && !fields.content_length.empty())
    return Bad("Transfer-Encoding and Content-Length exclude each other; send only one of them");
  if (fields.content_length.size() > 1) return Bad("there is more than one Content-Length");
  if (!fields.content_length.empty()) {
    const std::string& length = fields.content_length.front();
    const auto digit = [](char c) { return c >= '0' && c <= '9'; };
    if (length.empty() || !std::ranges::all_of(length, digit)) return Bad("Content-Length is not a number");
  }
  if (!chunked) return {};
  if (http10) return Bad("HTTP/1.0 has no Transfer-Encoding; send Content-Length, or use HTTP/1.1");
  std::string codings = Lower(fmt::format("{}", fmt::join(fields.transfer_encoding, ",")));
  std::erase_if(codings, [](char c) { return c == ' ' || c == '\t'; });
  if (codings == "chunked") return {};
  if (codings.ends_with(",chunked") && codings.find("chunked") == codings.size() - 7)
    return Bad("of the transfer codings only 'chunked' is supported; compress with Content-Encoding instead",
               501);
  return Bad("Transfer-Encoding does not end in 'chunked', so the end of the body is unknown");
}

ApiResult<void> ReadHost(const HeadFields& fields, HttpRequest& request) {
  if (fields.host.size() > 1) return Bad("there is more than one Host header");
  if (fields.host.empty()) {
    if (request.http10) return {};
    return Bad("the Host header is missing");
  }
  if (!IsAuthority(fields.host.front()))
    return Bad("the Host header is not a host name with an optional port");
  if (request.host.empty())
    request.host = Lower(fields.host.front());  // a target's own host precedes (9112, 3.2.2)
  return {};
}

// A key is sent as a Bearer token or, by clients behind a proxy that uses Authorization itself, as x-api-key.
ApiResult<void> ReadKey(const HeadFields& fields, HttpRequest& request) {
  if (fields.authorization.size() > 1) return Bad("there is more than one Authorization header");
  if (fields.api_key.size() > 1) return Bad("there is more than one x-api-key header");
  constexpr std::string_view kBearer = "bearer ";
  if (!fields.authorization.empty() && StartsWithIgnoringCase(fields.authorization.front(), kBearer)) {
    std::string_view token = fields.authorization.front();
    token.remove_prefix(std::min(token.find_first_not_of(' ', kBearer.size()), token.size()));
    request.bearer = token;
  }
  if (request.bearer.empty() && !fields.api_key.empty()) request.bearer = fields.api_key.front();
  return {};
}

ApiResult<void> ReadExpect(const HeadFields& fields, HttpRequest& request) {
  if (fields.expect.empty() || request.http10) return {};  // 1.0 has no interim answers (RFC 9110, 10.1.1)
  for (const std::string& value : fields.expect) {
    if (!iequals(value, "100-continue")) return Bad("of Expect only '100-continue' is supported", 417);
  }
  request.expects_continue = true;
  return {};
}

}  // namespace

ApiError BadHttp(std::string message, int status) {
  ApiError error = ToApiError({Code::kInvalid, "malformed HTTP: " + message, Reason::kBadHttp});
  error.http_status = status;
  return error;
}

ApiResult<void> CheckHeadBytes(std::string_view head) {
  bool line_begins = false, first_line = true;
  for (size_t i = 0; i < head.size(); ++i) {
    const char c = head[i];
    if (line_begins && (c == ' ' || c == '\t'))
      return Bad("a header line begins with a space (folded headers are obsolete); put it on one line");
    line_begins = false;
    if (c == '\r') {
      if (i + 1 == head.size()) break;  // more comes
      if (head[++i] != '\n') return Bad("a carriage return without a line feed");
      line_begins = true;
      first_line = false;
    } else if (c == '\n') {
      return Bad("a line feed without a carriage return");
    } else if ((static_cast<unsigned char>(c) < ' ' && (c != '\t' || first_line)) || c == 0x7F) {
      return Bad("a control character; is this TLS (https://) or another protocol?");
    }
  }
  return {};
}

ApiResult<void> ReadTarget(std::string_view method, std::string_view target, HttpRequest& request) {
  if (target == "*" && method == "OPTIONS") {
    request.path = target;
    return {};
  }
  if (method == "CONNECT") return Bad("this is not a proxy: CONNECT is not supported", 501);
  if (target.find('#') != std::string_view::npos) return Bad("the request target contains a '#'");
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!StartsWithIgnoringCase(target, scheme)) continue;
    target.remove_prefix(scheme.size());
    const size_t end = std::min(target.find_first_of("/?"), target.size());
    const std::string_view authority = target.substr(0, end);
    if (authority.empty() || authority.starts_with(':') || !IsAuthority(authority))
      return Bad("the request target's host is not a host name with an optional port");
    request.host = Lower(authority);
    target.remove_prefix(end);
    if (!target.starts_with('/')) request.path = "/";
    break;
  }
  const size_t question = std::min(target.find('?'), target.size());
  request.path += PercentDecode(target.substr(0, question), false);
  request.query = target.substr(std::min(question + 1, target.size()));
  if (!request.path.starts_with('/'))
    return Bad("the request target is neither a path that begins with '/' nor an http URL");
  return {};
}

ApiResult<void> ReadFields(const HeadFields& fields, HttpRequest& request) {
  if (auto checked = CheckLength(fields, request.http10); !checked) return checked;
  if (auto checked = ReadHost(fields, request); !checked) return checked;
  if (auto checked = ReadKey(fields, request); !checked) return checked;
  if (auto checked = ReadExpect(fields, request); !checked) return checked;
  const std::string codings = fmt::format("{}", fmt::join(fields.content_encoding, ","));
  const auto coding = CodingOf(codings);
  if (!coding) {
    ApiError error =
        ToApiError({Code::kUnsupported,
                    fmt::format("the Content-Encoding '{}' is not supported; send one of {}, or none",
                                HeaderList({codings}), kAcceptedCodings)});
    error.http_status = 415;
    return std::unexpected(error);
  }
  request.coding = *coding;
  return {};
}

}  // namespace penstock::gateway
