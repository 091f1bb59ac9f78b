// CloudSim: the real pool (fleet/pool/pool.h), scheduler and planner over fake runners, under a simulated
// clock, with faults. A seed replays a run exactly, so a failure that was found once can be looked at again.
//
// Teams send requests at random times; the pool sends them to engines; engines step, die, fail, wait for slow
// readers and come back. The pool's integrity is checked after every event, and at the end everything must
// add up (see `violations`).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"

namespace penstock {

struct SimTeamOptions {
  double requests_per_second = 2;  // Poisson; 0: all at once at the beginning
  uint32_t requests = 30;
  int32_t prompt = 40, output = 40;  // tokens, means; drawn between half and one and a half
  double weight = 1;
};

struct SimOptions {
  uint64_t seed = 1;
  std::vector<SimTeamOptions> teams = {{}, {}, {}};
  uint32_t engines = 2;
  int32_t slots = 8, pages = 96;  // of each engine
  Nanos step_time = 10 * kMillisecond, token_time = 100 * kMicrosecond;
  // Faults.
  double deaths_per_second = 0;  // of each engine; it is back after a second
  double failed_steps = 0;       // a step's probability
  double cancelled = 0;          // a request's probability to be cancelled at a random moment
  double slow_readers = 0;       // a request's probability to be read at 20 tokens/s, 8 ahead
};

struct SimTeam {
  uint32_t sent = 0, finished = 0, failed = 0, cancelled = 0;
  uint64_t tokens = 0;                 // emitted
  Nanos chip_time = 0;                 // that the team was charged
  Nanos waited = 0, longest_wait = 0;  // from the arrival to an engine; each time that it is sent
};

struct SimReport {
  std::vector<SimTeam> teams;
  Nanos ended_at = 0;  // simulated
  uint64_t events = 0;
  uint64_t log_hash = 0;  // of everything that happened, in order
  uint64_t steps = 0, deaths = 0, requeued = 0, preemptions = 0;
  // The largest difference, over any time in which two teams both had something waiting, of the chip time
  // by weight that they got; and what virtual counters allow: twice the chip time of the largest job for
  // each slot of the pool (Sheng et al. 2024, theorem 4.4, in chip time).
  Nanos unfairness = 0, unfairness_bound = 0;
  std::vector<std::string> violations;  // of what must always hold; empty when all is right
};

SimReport SimulateCloud(const SimOptions& options);

}  // namespace penstock
