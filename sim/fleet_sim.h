// FleetSim: a thousand chips of several kinds under a day's requests: the real fair queue, profiles and
// placement before engines that are a formula each, so that a day of millions of requests takes a minute.
//
// An engine batches continuously: a step decodes all its running sequences by a token and computes a chunk of
// the prompts that wait. How long a step truly takes comes from measured tables (ChipKind); what placement
// knows of it, it learns from the steps, as in the cloud. Chips die and come back; what they ran goes on
// elsewhere.
//
// Deterministic by seed. Threads: one.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"

namespace penstock {

// A kind of chip with one model on it, as measured.
struct ChipKind {
  std::string name;
  uint32_t count = 0;
  std::vector<std::pair<double, double>> decode;  // sequences → nanoseconds of a step; ascending, ≥ 1 row
  double context = 0;                             // nanoseconds a position looked back on
  double prefill = 0;                             // nanoseconds a prompt token
  uint32_t slots = 64;                            // sequences at once
  uint32_t pages = 8192;                          // of 16 tokens

  double StepTime(double prefill_tokens, double sequences, double positions) const;
};

struct FleetRequest {
  Nanos at = 0;
  uint32_t team = 0, prompt = 1, output = 1;
};

enum class FleetPolicy : uint8_t {
  kExpectedCost,      // ours: fleet/placement/placement.h
  kRoundRobin,        // the next one with room
  kLeastConnections,  // of running sequences
  kWeightedLeast,     // the same by the chip's speed, known beforehand
  kTwoChoices,        // the less loaded of two drawn
  kFastest,           // the fastest kind with room
};
std::string_view PolicyName(FleetPolicy policy);

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
