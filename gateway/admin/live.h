// Live: what runs and waits now, for whoever looks.
// Threads: the io thread.
#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <string_view>

#include "base/clock.h"
#include "teams/teams.h"

namespace penstock::gateway {

// One generation under way. Its story owns what is viewed here, keeps it up to date and takes it out.
struct LiveRequest {
  std::string_view id, model, team_name;
  TeamId team = 0;
  KeyId key = 0;
  std::string_view state = "waiting";  // "waiting", "running", "paused"
  int64_t prompt = 0, tokens = 0;      // output tokens so far, all choices
  Nanos arrived = 0;                   // monotonic
};
using LiveRequests = std::list<LiveRequest>;  // in the order in which they came

// How fast a counter grows, over the last few seconds.
class Rate {
 public:
  void Note(Nanos now, uint64_t count);
  double PerSecond() const;

 private:
  struct Sample {
    Nanos at = 0;
    uint64_t count = 0;
  };
  std::deque<Sample> samples_;
};

}  // namespace penstock::gateway
