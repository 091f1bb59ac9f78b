// GatewayStatus: what the gateway is doing now, for the pages that show it.
// Threads: the io thread.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "teams/teams.h"

namespace penstock::gateway {

// One generation under way. The generation owns what is viewed here, keeps it up to date and takes it out.
struct LiveRequest {
  const Ticket* ticket = nullptr;  // its id and its tokens so far
  std::string_view model, team_name;
  TeamId team = 0;
  KeyId key = 0;
  std::string_view state = "waiting";  // "waiting", "running", "paused"
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

struct GatewayStatus {
  Nanos started = 0;                    // monotonic
  std::string tls_fingerprint;          // of the certificate; empty: plain HTTP
  bool draining = false;                // no new work is taken
  size_t open_requests = 0;             // generations, also those that are not admitted yet
  LiveRequests live;                    // those that were admitted
  Rate token_rate, computed_rate;       // of all engines
  std::function<size_t()> connections;  // how many are open
};

}  // namespace penstock::gateway
