// Utf8Holder: takes the bytes of tokens and returns complete characters. A token may end within a character;
// text for a client must not.
//
// Invalid bytes become U+FFFD, one per maximal subpart (as in Unicode 16, section 3.9, WHATWG's decoder,
// Python's errors="replace" and Rust's from_utf8_lossy), so the output is always valid UTF-8 and
// does not depend on how the bytes were split.
#pragma once

#include <string>
#include <string_view>

namespace penstock {

// Threads: one.
class Utf8Holder {
 public:
  // Returns the characters that are complete now. At most three bytes are held back.
  std::string Feed(std::string_view bytes);
  // At the end: returns U+FFFD if a character is incomplete, otherwise nothing. Resets the holder.
  std::string Flush();
  // The bytes that are held back.
  std::string_view pending() const { return pending_; }

 private:
  std::string pending_;
};

// `bytes` with every invalid part replaced, as by Feed and Flush of a new holder.
std::string ValidUtf8(std::string_view bytes);

}  // namespace penstock
