#include "gateway/http/body_memory.h"

namespace penstock::gateway {

void BodyMemory::Charge::Release() {
  if (bytes_ == 0) return;
  held_->total -= bytes_;
  const auto key = held_->by_key.find(key_);
  key->second -= bytes_;
  if (key->second == 0) held_->by_key.erase(key);
  bytes_ = 0;
}

BodyMemory::Refusal BodyMemory::Grow(Charge& charge, int64_t key, size_t bytes,
                                     const BodyMemoryLimits& limits) {
  const size_t more = bytes - charge.bytes_;
  if (more == 0) return Refusal::kNone;
  const auto known = held_->by_key.find(key);
  const size_t of_key = known == held_->by_key.end() ? 0 : known->second;
  if (of_key > charge.bytes_ && of_key + more > limits.per_key) return Refusal::kKeyLimit;
  if (held_->total > charge.bytes_ && held_->total + more > limits.total) return Refusal::kTotalLimit;
  held_->total += more;
  held_->by_key[key] += more;
  charge.held_ = held_;
  charge.key_ = key;
  charge.bytes_ = bytes;
  return Refusal::kNone;
}

ApiError ToApiError(BodyMemory::Refusal refusal, const BodyMemoryLimits& limits) {
  const bool of_key = refusal == BodyMemory::Refusal::kKeyLimit;
  const std::string message =
      of_key ? fmt::format(
                   "the bodies of this key's requests hold {} bytes already, the most that they may "
                   "(gateway.body_memory_per_key); send fewer large requests at the same time",
                   limits.per_key)
             : fmt::format(
                   "the bodies of all requests hold {} bytes already, the most that they may "
                   "(gateway.body_memory); try again soon",
                   limits.total);
  const Reason reason = of_key ? Reason::kKeyBodyMemory : Reason::kBodyMemory;
  return ToApiError({CodeOf(reason), message, reason});
}

}  // namespace penstock::gateway
