// IdempotencyKeys: which Idempotency-Key headers were seen, so that a client's repeated request runs once.
//
// A key is reserved when its request arrives, so two that arrive together run once. The request that is
// admitted confirms it; one that delivers nothing releases it, and may be sent again. In memory: a restart
// forgets them. Bounded in age and number; the oldest go first. Threads: one.
#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/clock.h"
#include "base/result.h"
#include "teams/teams.h"

namespace penstock::gateway {

class IdempotencyKeys {
 public:
  explicit IdempotencyKeys(size_t capacity = 100'000, Nanos keep = 24 * 3600 * kSecond)
      : capacity_(capacity), keep_(keep) {}

  // One request's hold on its key. The keys outlive it.
  class Hold {
   public:
    Hold(IdempotencyKeys& keys, std::string name, Nanos at) : keys_(&keys), name_(std::move(name)), at_(at) {}
    // The key stands for this request from now on.
    void Confirm(std::string_view request_id);
    // The key may be used again.
    void Release();

   private:
    IdempotencyKeys* keys_;
    std::string name_;
    Nanos at_;
  };

  // Errors: kConflict: the key (of this team key) stands for another request; names it if it was admitted.
  Result<Hold> Reserve(KeyId owner, std::string_view key, Nanos now);

 private:
  struct Seen {
    std::string request_id;  // empty: its request is being admitted
    Nanos at = 0;
  };
  Seen* Find(const std::string& name, Nanos reserved_at);
  void Expire(Nanos now);

  size_t capacity_;
  Nanos keep_;
  std::unordered_map<std::string, Seen> seen_;
  std::deque<std::pair<Nanos, std::string>> order_;  // by age; may name released ones
};

}  // namespace penstock::gateway
