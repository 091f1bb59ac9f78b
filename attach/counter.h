// TextCounter: how many tokens a text has that comes in pieces, by our own tokenizer, for upstreams that tell
// no ids. What was counted is never taken back: the next pieces count less instead.
// Threads: one.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "text/text.h"

namespace penstock {

class TextCounter {
 public:
  explicit TextCounter(std::shared_ptr<const Tokenizer> tokenizer) : tokenizer_(std::move(tokenizer)) {}

  // The tokens by which the text has grown.
  uint32_t Push(std::string_view text) {
    open_ += text;
    const auto tokens = tokenizer_->Encode(open_, false);
    const uint32_t now = settled_ + (tokens ? static_cast<uint32_t>(tokens->size()) : 0);
    const uint32_t more = now - std::min(now, told_);
    told_ += more;
    // What lies before the last line or word is settled: a token seldom reaches across.
    if (open_.size() > kOpen) Settle();
    return more;
  }

 private:
  static constexpr size_t kOpen = 512, kKept = 128;

  void Settle() {
    const size_t cut = open_.rfind(' ', open_.size() - kKept);
    if (cut == std::string::npos || cut == 0) {
      if (open_.size() > 8 * kOpen) SettleAt(open_.size());
      return;
    }
    SettleAt(cut);
  }
  void SettleAt(size_t cut) {
    const auto tokens = tokenizer_->Encode(std::string_view(open_).substr(0, cut), false);
    settled_ += tokens ? static_cast<uint32_t>(tokens->size()) : 0;
    open_.erase(0, cut);
  }

  const std::shared_ptr<const Tokenizer> tokenizer_;
  std::string open_;  // the end of the text, counted anew each time
  uint32_t settled_ = 0, told_ = 0;
};

}  // namespace penstock
