#include "gateway/observe/gateway_status.h"

namespace penstock::gateway {

constexpr Nanos kRateWindow = 3 * kSecond;

void Rate::Note(Nanos now, uint64_t count) {
  samples_.push_back({now, count});
  while (samples_.size() > 2 && now - samples_[1].at >= kRateWindow) samples_.pop_front();
}

double Rate::PerSecond() const {
  if (samples_.size() < 2 || samples_.back().at <= samples_.front().at) return 0;
  const Nanos time = samples_.back().at - samples_.front().at;
  return static_cast<double>(samples_.back().count - samples_.front().count) * kSecond /
         static_cast<double>(time);
}

}  // namespace penstock::gateway
