// What a renderer's process (text/render_process.h) is sent and answers, over a socket, in order.
// Both ends are the same program, so these structs are sent as they are in memory.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "text/c_abi.h"

namespace penstock {

struct RenderQuestion {      // followed by `source_size` and `context_size` bytes
  uint64_t id = 0;           // the template's
  uint64_t source_size = 0;  // 0: the process was sent this template before
  uint64_t context_size = 0;
  bool render = false;  // false: only compile
};
struct RenderAnswer {  // followed by `size` bytes: the rendered text, or the error message
  penstock_text_status status = PENSTOCK_TEXT_OK;
  uint64_t size = 0;
};
constexpr uint64_t kLargestRenderAnswer = 256 << 20;  // the library itself stops at 64 MiB

std::string_view BytesOf(const auto& plain) {
  return {reinterpret_cast<const char*>(&plain), sizeof plain};
}

inline Result<std::string> ToResult(penstock_text_status status, std::string text) {
  if (status == PENSTOCK_TEXT_OK) return text;
  return std::unexpected(
      Error{status == PENSTOCK_TEXT_INVALID ? Code::kInvalid : Code::kInternal, std::move(text)});
}

}  // namespace penstock
