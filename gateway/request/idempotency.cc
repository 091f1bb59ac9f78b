#include "gateway/request/idempotency.h"

#include <fmt/format.h>

namespace penstock::gateway {

std::string IdempotencyKeys::NameOf(KeyId owner, std::string_view key) {
  return fmt::format("{}:{}", owner, key);
}

const std::string* IdempotencyKeys::Find(KeyId owner, std::string_view key, Nanos now) {
  Expire(now);
  const auto found = seen_.find(NameOf(owner, key));
  return found == seen_.end() ? nullptr : &found->second.request_id;
}

void IdempotencyKeys::Remember(KeyId owner, std::string_view key, std::string request_id, Nanos now) {
  std::string name = NameOf(owner, key);
  order_.emplace_back(now, name);
  seen_.insert_or_assign(std::move(name), Seen{std::move(request_id), now});
  Expire(now);
}

void IdempotencyKeys::Forget(KeyId owner, std::string_view key) {
  seen_.erase(NameOf(owner, key));
}

void IdempotencyKeys::Expire(Nanos now) {
  while (!order_.empty() && (order_.front().first < now - keep_ || order_.size() > capacity_)) {
    const auto found = seen_.find(order_.front().second);
    // One that was forgotten and sent again is younger than this mention of it.
    if (found != seen_.end() && found->second.at == order_.front().first) seen_.erase(found);
    order_.pop_front();
  }
}

}  // namespace penstock::gateway
