#include "gateway/request/idempotency.h"

#include <fmt/format.h>

namespace penstock::gateway {

Result<IdempotencyKeys::Hold> IdempotencyKeys::Reserve(KeyId owner, std::string_view key, Nanos now) {
  Expire(now);
  std::string name = fmt::format("{}:{}", owner, key);
  const auto [seen, fresh] = seen_.try_emplace(name, Seen{.request_id = {}, .at = now});
  if (!fresh && seen->second.request_id.empty()) {
    return Fail(Reason::kIdempotencyUsed,
                "a request with this Idempotency-Key is being admitted; wait for its answer");
  }
  if (!fresh) {
    return Fail(Reason::kIdempotencyUsed,
                "this Idempotency-Key was used by request {0}; GET /v1/requests/{0} shows its outcome "
                "(answers are not replayed)",
                seen->second.request_id);
  }
  order_.emplace_back(now, name);
  Expire(now);
  return Hold(*this, std::move(name), now);
}

void IdempotencyKeys::Hold::Confirm(std::string_view request_id) {
  if (Seen* const seen = keys_->Find(name_, at_)) seen->request_id = request_id;
}

void IdempotencyKeys::Hold::Release() {
  if (keys_->Find(name_, at_) != nullptr) keys_->seen_.erase(name_);
}

// What was reserved then, if it did not expire and was not reserved anew.
IdempotencyKeys::Seen* IdempotencyKeys::Find(const std::string& name, Nanos reserved_at) {
  const auto found = seen_.find(name);
  return found == seen_.end() || found->second.at != reserved_at ? nullptr : &found->second;
}

void IdempotencyKeys::Expire(Nanos now) {
  while (!order_.empty() && (order_.front().first < now - keep_ || order_.size() > capacity_)) {
    const auto& [at, name] = order_.front();
    if (Find(name, at) != nullptr) seen_.erase(name);
    order_.pop_front();
  }
}

}  // namespace penstock::gateway
