#include "attach/concurrency.h"

#include <algorithm>
#include <bit>

namespace penstock {

Concurrency::Concurrency(Options options)
    : options_(options), limit_(std::clamp(options.first, 1U, std::max(options.most, 1U))) {}

Nanos Concurrency::BestOf(Best& best, Nanos now, Nanos took) const {
  if (now - best.since > options_.memory) {
    best = {.now = 0, .before = now - best.since > 2 * options_.memory ? 0 : best.now, .since = now};
  }
  best.now = best.now == 0 ? took : std::min(best.now, took);
  return best.before == 0 ? best.now : std::min(best.now, best.before);
}

void Concurrency::FirstToken(Nanos sent, Nanos now, uint32_t prompt_tokens, uint32_t running) {
  const Nanos took = std::max<Nanos>(now - sent, 1);
  const size_t length = std::min<size_t>(static_cast<size_t>(std::bit_width(prompt_tokens)), kLengths - 1);
  const auto best = static_cast<double>(BestOf(best_[length], now, took));
  if (static_cast<double>(took) > options_.late * best + static_cast<double>(options_.slack)) {
    return Cut(sent, now, options_.after_delay);
  }
  // A limit that was not reached has proved nothing.
  if (running < limit()) return;
  limit_ =
      std::min(limit_ + (probing_ ? 1.0 : 1.0 / limit_), static_cast<double>(std::max(options_.most, 1U)));
}

void Concurrency::Refused(Nanos sent, Nanos now) {
  Cut(sent, now, options_.after_refusal);
}

void Concurrency::Cut(Nanos sent, Nanos now, double left) {
  if (sent <= cut_at_) return;
  cut_at_ = now;
  probing_ = false;
  limit_ = std::max(limit_ * left, 1.0);
}

}  // namespace penstock
