// HTTP as plain data: what a request says and what a response holds.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "gateway/http/body_decoder.h"
#include "gateway/http/body_memory.h"

namespace penstock::gateway {

enum class Method : uint8_t { kGet, kHead, kPost, kDelete, kOptions, kOther };
std::string_view MethodName(Method method);

// The headers that some handler reads; all others are parsed, counted and dropped.
struct HttpRequest {
  Method method = Method::kOther;
  std::string host;         // of the target, else of Host; lower case, as sent: "example.com:8700"
  std::string path, query;  // percent-decoded path; raw query, without '?'
  std::string bearer;       // of Authorization, else of X-Api-Key; empty: none
  std::string idempotency_key, if_none_match;
  std::string origin, cors_method, cors_headers;  // Origin and Access-Control-Request-…; of browsers
  std::string body;
  Coding coding = Coding::kIdentity;  // of `body` as it comes; a handler gets it decoded
  int64_t key = 0, team = 0;          // that the body's memory and work count for; 0: sent without a key
  BodyMemory::Charge memory{};        // held for the body
  std::string answer_headers;         // that every answer to it has, each "name: value\r\n"
  bool keep_alive = true, http10 = false, expects_continue = false;  // the last one only in HTTP/1.1
  bool wants_html = false, takes_gzip = false;                       // of Accept and Accept-Encoding
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
// How a response is put on a connection.
struct Framing {
  bool http10 = false;
  Nanos keep_alive = 0;           // how long the connection waits for another request; 0: it closes
  std::string_view headers = {};  // more of them
};
// Status line and headers up to the empty line. `length` < 0: chunked. Every answer forbids browsers to guess
// its type, and caches to keep it unless its own headers say otherwise.
void AppendHead(const HttpResponse& response, int64_t length, const Framing& framing, std::string& out);

// Adds x-request-id. `id` empty: one for a request that was refused and left no record.
HttpResponse WithRequestId(HttpResponse response, std::string_view id = {});

// A header's value from names that a client chose: nothing in it can end the line; cut after some 1,000
// bytes.
std::string HeaderList(const std::vector<std::string>& names);

}  // namespace penstock::gateway
