// Policies: what placement by expected cost is compared with. Each is a PlacePolicy for a pool.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "fleet/placement/placement.h"

namespace penstock {

enum class FleetPolicy : uint8_t {
  kExpectedCost,      // ours: fleet/placement/placement.h
  kRoundRobin,        // the next one with room
  kLeastConnections,  // of running sequences
  kWeightedLeast,     // the same by the chip's speed, known beforehand
  kTwoChoices,        // the less loaded of two drawn
  kFastest,           // the fastest kind with room
};
std::string_view PolicyName(FleetPolicy policy);

// `step_time`: nanoseconds of an engine's smallest step, as known beforehand.
PlacePolicy MakePolicy(FleetPolicy policy, uint64_t seed, std::function<double(EngineKey)> step_time);

}  // namespace penstock
