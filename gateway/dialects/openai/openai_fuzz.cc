// Any bytes as the body of a chat or completion request: an error or a valid request, never a crash, and
// what comes out of it is JSON again.
#include <boost/json.hpp>
#include <cstdint>
#include <cstdlib>

#include "gateway/dialects/openai/errors.h"
#include "gateway/dialects/openai/openai.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace penstock::gateway;  // NOLINT: this file is one function
  if (size == 0) return 0;
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  const auto request = data[0] % 2 == 0 ? ParseChat(body) : ParseCompletion(body);
  std::string out;
  if (!request) {
    AppendOpenAiError(request.error(), out);
  } else {
    boost::system::error_code ec;
    if (data[0] % 2 == 0) {
      boost::json::parse("{\"messages\":" + request->messages + request->template_members + "}", ec,
                         boost::json::storage_ptr{}, {.max_depth = 128});
      if (ec) std::abort();
    }
    const auto renderer = MakeOpenAiRenderer(*request, {.id = "id", .model = request->model});
    renderer->Whole({{.text = std::string(body), .reasoning = {}, .logprobs = {}, .finish = "stop"}}, {},
                    out);
  }
  boost::system::error_code ec;
  boost::json::parse(out, ec);
  if (ec) std::abort();
  return 0;
}
