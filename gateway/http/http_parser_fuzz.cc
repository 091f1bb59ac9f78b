// Any bytes as an HTTP connection, cut at any place: the parser ends with a request, an error or a wish for
// more, and the same bytes lead to the same request however they are cut.
#include <cstdint>
#include <cstdlib>

#include "gateway/http/http_parser.h"

namespace {

using penstock::gateway::HttpParser;
using penstock::gateway::HttpRequest;

// 0: more bytes are needed; 1: done; otherwise an error.
int Parse(std::string_view bytes, size_t step, HttpRequest& request) {
  HttpParser parser({.header_bytes = 4096, .body_bytes = 4096}, request);
  size_t taken = 0;
  for (size_t seen = std::min(step, bytes.size()); !parser.done();
       seen = std::min(seen + step, bytes.size())) {
    const auto n = parser.Put(bytes.substr(taken, seen - taken));
    if (!n) return 2 + static_cast<int>(n.error().code);
    taken += *n;
    if (seen == bytes.size()) break;
  }
  return parser.done() ? 1 : 0;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  HttpRequest whole, cut;
  const int at_once = Parse(bytes, bytes.size() + 1, whole);
  const int in_steps = Parse(bytes, data[0] % 16 + 1, cut);
  if (at_once == 1 && in_steps == 1 && (whole.path != cut.path || whole.body != cut.body)) std::abort();
  if ((at_once == 1) != (in_steps == 1)) std::abort();
  penstock::gateway::QueryValue(whole, "team");
  return 0;
}
