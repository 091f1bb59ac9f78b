// Any bytes, split anywhere, give the same valid UTF-8.
#include <cstdint>
#include <string>

#include "base/check.h"
#include "text/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t step = 1 + data[0] % 7;
  penstock::Utf8Holder holder;
  std::string pieces;
  for (size_t at = 0; at < bytes.size(); at += step) {
    pieces += holder.Feed(bytes.substr(at, step));
    PENSTOCK_CHECK(holder.pending().size() <= 3);
  }
  pieces += holder.Flush();
  PENSTOCK_CHECK(pieces == penstock::ValidUtf8(bytes));
  PENSTOCK_CHECK(pieces == penstock::ValidUtf8(pieces));
  return 0;
}
