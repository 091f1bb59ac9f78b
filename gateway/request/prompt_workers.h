// PromptWorkers: threads that parse bodies, render templates and tokenise prompts, fairly between teams.
//
// Short pieces have threads of their own, of which one team occupies at most all but one. Long ones, which
// take seconds each, run one at a time at a low priority. So the short prompt of one team waits for at most
// one short piece of another, whatever the others send. Threads: Add from any; Stop from the owner's.
#pragma once

#include "base/fair_workers.h"
#include "teams/teams.h"

namespace penstock::gateway {

class PromptWorkers {
 public:
  static constexpr size_t kShort = 64 << 10;  // bytes of the request's body

  void Add(TeamId team, size_t body_bytes, FairWorkers::Work work) {
    (body_bytes <= kShort ? short_ : long_).Add(team, std::move(work));
  }
  // Drops what waits and ends what runs; further work is dropped.
  void Stop() {
    short_.Stop();
    long_.Stop();
  }

 private:
  FairWorkers short_{{.name = "prompts", .threads = 3, .most_of_one = 2}};
  FairWorkers long_{{.name = "long prompts", .niceness = 10}};
};

}  // namespace penstock::gateway
