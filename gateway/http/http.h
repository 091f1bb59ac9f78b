// HTTP as plain data: what a request says, what a response holds, and which status an error becomes.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace penstock::gateway {

enum class Method : uint8_t { kGet, kHead, kPost, kDelete, kOptions, kOther };
std::string_view MethodName(Method method);

// The headers that anybody here reads, and no others: the rest is parsed, counted and dropped.
struct HttpRequest {
  Method method = Method::kOther;
  std::string path, query;  // percent-decoded path; raw query, without '?'
  std::string bearer;       // of Authorization or X-Api-Key; empty: none
  std::string idempotency_key, if_none_match;
  std::string body;
  bool keep_alive = true, http10 = false, expects_continue = false;
  bool wants_html = false, takes_gzip = false;  // of Accept and Accept-Encoding
};

// The value of `name` in the query string, percent-decoded; empty when absent.
std::string QueryValue(const HttpRequest& request, std::string_view name);
// Undoes %XX; malformed escapes stay as they are.
std::string PercentDecode(std::string_view text, bool plus_is_space);

struct HttpResponse {
  int status = 200;
  std::string_view content_type = "application/json";
  std::string headers;  // more of them, each "name: value\r\n"
  std::string body;
  bool close = false;
};
std::string_view ReasonPhrase(int status);
// Status line and headers up to the empty line. `length` < 0: chunked.
void AppendHead(const HttpResponse& response, int64_t length, bool http10, bool keep_alive, std::string& out);

// An error as a client sees it. `type` and `code` are OpenAI's where it has one.
struct ApiError {
  int status = 500;
  std::string_view type = "server_error";
  std::string_view code;  // empty: null
  std::string param;      // empty: null
  std::string message;
  int retry_after = 0;            // seconds, ≤ 60: clients ignore longer ones; 0: not said
  bool never_retry = false;       // x-should-retry: false
  Reason reason = Reason::kNone;  // its short code goes into x-penstock-error
};
// The status, type and code of each Code: the one table.
ApiError ToApiError(const Error& error);
ApiError InvalidField(std::string param, std::string message);
ApiError UnsupportedField(std::string param, std::string message);

// {"error":{"message","type","param","code"}}: all four keys, always.
void AppendErrorBody(const ApiError& error, std::string& out);
HttpResponse ErrorResponse(const ApiError& error);

// Adds x-request-id. `id` empty: one for a request that was refused and left no record.
HttpResponse WithRequestId(HttpResponse response, std::string_view id = {});

// A header's value from names that a client chose: nothing in it can end the line; cut after some 1,000
// bytes.
std::string HeaderList(const std::vector<std::string>& names);

template <class T>
using ApiResult = std::expected<T, ApiError>;

}  // namespace penstock::gateway
