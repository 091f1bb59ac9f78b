#include "attach/concurrency.h"

#include <algorithm>
#include <bit>

namespace penstock {

Concurrency::Concurrency(Options options)
    : options_(options), limit_(std::clamp(options.first, 1U, std::max(options.most, 1U))) {}

void Concurrency::Begins(const Beginning& one) {
  const Nanos took = std::max<Nanos>(one.now - one.sent, 1);
  const auto length = std::min<size_t>(static_cast<size_t>(std::bit_width(one.prompt_tokens)), kLengths - 1);
  const auto best = static_cast<double>(best_[length].Note(took, one.now, options_.memory));
  const auto proven = static_cast<double>(proven_.Note(one.begun, one.now, options_.proof));
  const double in_time = options_.late * best + static_cast<double>(options_.slack);
  if (one.room_made && static_cast<double>(took) > in_time) {
    if (one.sent > cut_at_) rest_until_ = one.now + options_.rest;
    return Cut(one.sent, one.now, std::max(limit_ * options_.after_delay, std::min(limit_, proven)));
  }
  // A limit that was not reached has proved nothing.
  if (one.running < limit() || one.now < rest_until_) return;
  limit_ =
      std::min(limit_ + (probing_ ? 1.0 : 1.0 / limit_), static_cast<double>(std::max(options_.most, 1U)));
}

void Concurrency::Refused(Nanos sent, Nanos now) {
  proven_ = {};
  Cut(sent, now, limit_ * options_.after_refusal);
}

void Concurrency::Cut(Nanos sent, Nanos now, double to) {
  if (sent <= cut_at_) return;
  cut_at_ = now;
  probing_ = false;
  limit_ = std::max(to, 1.0);
}

}  // namespace penstock
