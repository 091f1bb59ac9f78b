// FleetStats: what the fleet counted since it started. Plain numbers; the gateway exports them.
#pragma once

#include <cstdint>

namespace penstock {

struct PoolStats {
  uint64_t submitted = 0, refused = 0;
  uint64_t sent = 0;       // jobs handed to an engine; each time that they are
  uint64_t finished = 0;   // ended by their engine, in whatever way
  uint64_t cancelled = 0;  // by the gateway
  uint64_t failed = 0;     // ended with an error
  uint64_t timed_out = 0;  // of `failed`: waited too long
  uint64_t requeued = 0;
  uint64_t resumed = 0;  // of `requeued`: answers that had begun
  uint64_t moved = 0;    // on to another engine, through no failure
  uint64_t canaries = 0, canaries_wrong = 0;
  uint64_t quarantines = 0;
  uint64_t canary_chip_ns = 0;  // charged to no team
  uint64_t engine_deaths = 0;
  uint64_t tokens = 0;    // emitted by engines
  uint64_t computed = 0;  // tokens
  uint64_t chip_ns = 0;
  uint64_t queue_wait_ns = 0;  // of all sent jobs together
};

struct LinkStats {
  uint64_t frames_in = 0, bytes_in = 0, frames_out = 0, bytes_out = 0, writes = 0;
};

struct FleetStats : PoolStats, LinkStats {};

}  // namespace penstock
