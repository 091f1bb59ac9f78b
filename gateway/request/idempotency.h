// IdempotencyKeys: which Idempotency-Key headers were seen, so that a client's repeated request runs once.
// In memory: a restart forgets them. Bounded in age and number; the oldest go first. Threads: one.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/clock.h"
#include "teams/teams.h"

namespace penstock::gateway {

class IdempotencyKeys {
 public:
  explicit IdempotencyKeys(size_t capacity = 100'000, Nanos keep = 24 * 3600 * kSecond)
      : capacity_(capacity), keep_(keep) {}

  // The request that `key` stood for when this team key sent it before; nullptr: none.
  const std::string* Find(KeyId owner, std::string_view key, Nanos now);
  void Remember(KeyId owner, std::string_view key, std::string request_id, Nanos now);
  // The request came to nothing: it may be sent again.
  void Forget(KeyId owner, std::string_view key);

 private:
  struct Seen {
    std::string request_id;
    Nanos at = 0;
  };
  static std::string NameOf(KeyId owner, std::string_view key);
  void Expire(Nanos now);

  size_t capacity_;
  Nanos keep_;
  std::unordered_map<std::string, Seen> seen_;
  std::deque<std::pair<Nanos, std::string>> order_;  // by age; may name forgotten ones
};

}  // namespace penstock::gateway
