// Utf8Holder: bytes of tokens in, whole characters out. A token may end within a character; what a
// client sees never does.
//
// Invalid bytes become U+FFFD, one per maximal subpart (Unicode 16, section 3.9, and WHATWG's decoder;
// Python's errors="replace" and Rust's from_utf8_lossy agree), so the output is always valid UTF-8 and
// does not depend on how the bytes were cut.
#pragma once

#include <string>
#include <string_view>

namespace penstock {

// Threads: one.
class Utf8Holder {
 public:
  // The characters that are complete now. At most three bytes are held back.
  std::string Feed(std::string_view bytes);
  // The end: U+FFFD if a character was left incomplete, else nothing. The holder is as new.
  std::string Flush();
  // Bytes held back.
  std::string_view pending() const { return pending_; }

 private:
  std::string pending_;
};

// `bytes` with every invalid part replaced: Feed and Flush of a new holder.
std::string ValidUtf8(std::string_view bytes);

}  // namespace penstock
