// FleetSim: a thousand chips of several kinds under a day's requests: the real pool (fleet/pool/pool.h)
// before engines that are a formula each (sim/formula_chip.h), so that a day of millions of requests takes
// minutes.
//
// What placement knows of a chip, it learns from the chip's steps, as in the cloud; the placement policy is
// an argument. Chips die and come back; what they ran goes on elsewhere.
//
// Deterministic by seed. Threads: one.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "sim/formula_chip.h"
#include "sim/policies.h"

namespace penstock {

struct FleetRequest {
  Nanos at = 0;
  uint32_t team = 0, prompt = 1, output = 1;
};

struct FleetSimOptions {
  uint64_t seed = 1;
  FleetPolicy policy = FleetPolicy::kExpectedCost;
  std::vector<ChipKind> kinds;
  std::vector<FleetRequest> requests = {};  // by time
  double deaths = 0.01;                     // of a chip, over the time of all requests
  Nanos repair = 10 * kSecond;
  double noise = 0.05;  // of a step's time, either way
  // A request is good when its first token comes within the one, and the others at the pace of the other.
  Nanos first_token = 2 * kSecond, per_token = 60 * kMillisecond;
  uint64_t check_every = 1;  // events, between two checks of the pool's integrity
};

struct FleetSimReport {
  uint64_t requests = 0, finished = 0, good = 0, failed = 0, deaths = 0, resumed = 0, steps = 0;
  Nanos ended_at = 0;
  double first_token_p50 = 0, first_token_p99 = 0;  // seconds
  double per_token_p50 = 0, per_token_p99 = 0;
  struct Kind {
    std::string name;
    uint64_t requests = 0, prompt = 0, output = 0;
    double busy = 0;  // of its chips' time
  };
  std::vector<Kind> kinds;
  std::vector<std::string> violations;  // of what must always hold
};

FleetSimReport SimulateFleet(const FleetSimOptions& options);

}  // namespace penstock
