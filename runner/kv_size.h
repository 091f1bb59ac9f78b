// The one rule by which a model's KV memory becomes pages. How many bytes it may have is the engine's
// decision (engine/memory.h); the bytes of a page are the runner's.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/tokens.h"
#include "runner/runner.h"

namespace penstock {

struct KvSize {
  int32_t pages = 0;
  int32_t context = 0;  // tokens of the longest sequence
};

// `own_context`: the model's. `sequences`: as many of the longest as pages are of use for.
// Errors: kInvalid: no page fits.
inline Result<KvSize> SizeKv(const LoadOptions& options, int64_t page_bytes, int32_t own_context,
                             int32_t sequences) {
  constexpr int64_t kMostPages = int64_t{INT32_MAX} / kPageTokens / 2;
  int64_t context = options.context > 0 ? std::min(options.context, own_context) : own_context;
  if (options.longest_bytes > 0)
    context = std::min(context, std::max<int64_t>(options.longest_bytes / page_bytes, 1) * kPageTokens);
  int64_t pages = std::min(kMostPages, int64_t{sequences} * PagesFor(static_cast<int32_t>(context)));
  if (options.kv_bytes > 0) pages = std::min(pages, options.kv_bytes / page_bytes);
  if (pages < 1) {
    return Fail(Code::kInvalid, "{}: {} bytes of KV memory do not hold one page of {} bytes: give it more",
                options.path, options.kv_bytes, page_bytes);
  }
  return KvSize{.pages = static_cast<int32_t>(pages),
                .context = static_cast<int32_t>(std::min(context, pages * kPageTokens))};
}

}  // namespace penstock
