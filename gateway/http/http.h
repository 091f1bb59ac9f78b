// HTTP as plain data: what a request says and what a response holds.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/http/body_memory.h"

namespace penstock::gateway {

enum class Method : uint8_t { kGet, kHead, kPost, kDelete, kOptions, kOther };
std::string_view MethodName(Method method);

// The headers that some handler reads; all others are parsed, counted and dropped.
struct HttpRequest {
  Method method = Method::kOther;
  std::string path, query;  // percent-decoded path; raw query, without '?'
  std::string bearer;       // of Authorization or X-Api-Key; empty: none
  std::string idempotency_key, if_none_match;
  std::string body;
  int64_t key = 0;              // that the body's memory counts for; 0: sent without one
  BodyMemory::Charge memory{};  // held for the body
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

// Adds x-request-id. `id` empty: one for a request that was refused and left no record.
HttpResponse WithRequestId(HttpResponse response, std::string_view id = {});

// A header's value from names that a client chose: nothing in it can end the line; cut after some 1,000
// bytes.
std::string HeaderList(const std::vector<std::string>& names);

}  // namespace penstock::gateway
