// BodyMemory: what the bodies of requests hold, in all and for each key, counted as they arrive.
//
// A body counts from its first byte until its text has become tokens. Bytes that were announced and have not
// come count nothing, so nobody takes memory from others by promising much. A body that is the only one is
// always accepted: its own size has a limit of its own (gateway.max_body).
// Threads: the io thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>

#include "gateway/common/api_error.h"

namespace penstock::gateway {

struct BodyMemoryLimits {
  size_t total = 512 << 20, per_key = 128 << 20;  // bytes
};

class BodyMemory {
  struct Held {
    size_t total = 0;
    std::unordered_map<int64_t, size_t> by_key;  // no zeros
  };

 public:
  // What one body holds; given back at its end, which may come after the BodyMemory's.
  class Charge {
   public:
    Charge() = default;
    Charge(Charge&& other) noexcept
        : held_(std::move(other.held_)), key_(other.key_), bytes_(std::exchange(other.bytes_, 0)) {}
    Charge& operator=(Charge&& other) noexcept {
      Release();
      held_ = std::move(other.held_);
      key_ = other.key_;
      bytes_ = std::exchange(other.bytes_, 0);
      return *this;
    }
    ~Charge() { Release(); }
    void Release();

   private:
    friend class BodyMemory;
    std::shared_ptr<Held> held_;
    int64_t key_ = 0;
    size_t bytes_ = 0;
  };

  enum class Refusal : uint8_t { kNone, kKeyLimit, kTotalLimit };
  // Makes `charge` hold `bytes`, no fewer than before; if a limit forbids it, says which and changes nothing.
  // `key` is the same at each call for a charge.
  Refusal Grow(Charge& charge, int64_t key, size_t bytes, const BodyMemoryLimits& limits);
  size_t held() const { return held_->total; }

 private:
  const std::shared_ptr<Held> held_ = std::make_shared<Held>();
};

// REQUIRES: not kNone.
ApiError ToApiError(BodyMemory::Refusal refusal, const BodyMemoryLimits& limits);

}  // namespace penstock::gateway
