#include "gateway/http/http.h"

#include <fmt/format.h>

#include <array>
#include <random>

namespace penstock::gateway {
namespace {

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::string_view MethodName(Method method) {
  constexpr std::array<std::string_view, 6> kNames = {"GET", "HEAD", "POST", "DELETE", "OPTIONS", "other"};
  return kNames[static_cast<size_t>(method)];
}

std::string PercentDecode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && HexDigit(text[i + 1]) >= 0 && HexDigit(text[i + 2]) >= 0) {
      out += static_cast<char>(HexDigit(text[i + 1]) * 16 + HexDigit(text[i + 2]));
      i += 2;
    } else {
      out += plus_is_space && text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

std::string QueryValue(const HttpRequest& request, std::string_view name) {
  std::string_view rest = request.query;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('&'), rest.size());
    const std::string_view pair = rest.substr(0, end);
    const size_t equals = std::min(pair.find('='), pair.size());
    if (pair.substr(0, equals) == name) {
      return PercentDecode(pair.substr(std::min(equals + 1, pair.size())), true);
    }
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return {};
}

std::string_view ReasonPhrase(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 204:
      return "No Content";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 413:
      return "Content Too Large";
    case 415:
      return "Unsupported Media Type";
    case 417:
      return "Expectation Failed";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return status < 500 ? "Error" : "Internal Server Error";
  }
}

void AppendHead(const HttpResponse& response, int64_t length, const Framing& framing, std::string& out) {
  const auto append = std::back_inserter(out);
  fmt::format_to(append, "HTTP/1.{} {} {}\r\n", framing.http10 ? 0 : 1, response.status,
                 ReasonPhrase(response.status));
  if (response.status != 204 && response.status != 304) {
    out.append("content-type: ").append(response.content_type).append("\r\n");
    if (length >= 0) {
      fmt::format_to(append, "content-length: {}\r\n", length);
    } else if (!framing.http10) {
      out += "transfer-encoding: chunked\r\n";
    }
  }
  if (framing.keep_alive == 0) {
    out += "connection: close\r\n";
  } else {
    fmt::format_to(append, "connection: keep-alive\r\nkeep-alive: timeout={}\r\n",
                   framing.keep_alive / kSecond);
  }
  out += "x-content-type-options: nosniff\r\n";
  if (response.headers.find("cache-control:") == std::string::npos) out += "cache-control: no-store\r\n";
  out.append(framing.headers).append(response.headers).append("\r\n");
}

std::string HeaderList(const std::vector<std::string>& names) {
  constexpr size_t kMost = 1000;
  std::string list;
  for (const std::string& name : names) {
    if (list.size() + name.size() > kMost) return list + ", ...";
    if (!list.empty()) list += ", ";
    for (const char c : name) list += c > ' ' && c < 0x7F && c != ',' ? c : '?';
  }
  return list;
}

HttpResponse WithRequestId(HttpResponse response, std::string_view id) {
  static thread_local std::mt19937_64 random{std::random_device()()};
  auto out = std::back_inserter(response.headers);
  if (id.empty()) {
    fmt::format_to(out, "x-request-id: ref_{:016x}{:08x}\r\n", random(), random() >> 32);
  } else {
    fmt::format_to(out, "x-request-id: {}\r\n", id);
  }
  return response;
}

}  // namespace penstock::gateway
