// Whatever bytes an upstream sends, cut however: an answer comes out or an error does.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdint>

#include "attach/answer.h"
#include "attach/http.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const size_t cut = size_t{data[0]} + 1;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  // As a body, and as a whole answer whose body it is read as.
  penstock::ResponseReader response;
  penstock::EventReader plain, inside;
  std::vector<std::string> events;
  bool is_http = true;
  for (size_t at = 0; at < bytes.size(); at += cut) {
    const auto piece = bytes.substr(at, cut);
    if (!plain.Feed(piece, events)) return 0;
    is_http = is_http && response.Feed(piece).has_value();
    if (is_http && !inside.Feed(response.TakeBody(), events)) return 0;
  }
  if (is_http) (void)response.End();
  plain.End(events);
  inside.End(events);
  events.emplace_back(bytes);
  for (const auto& event : events) {
    (void)penstock::ParseChunk(event);
    (void)penstock::ParseModels(event);
    (void)penstock::ErrorText(event);
  }
  return 0;
}
