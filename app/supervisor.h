// Supervisor: keeps one gateway and its engines running, holds their listening socket, and passes on the
// wish to stop.
//
// A child that dies is started again after a back-off that doubles from 50 ms to 5 s. Time lived pays it
// back: each 3 s halve it, 10 s reset it. A child that ends with kExitDoNotRetry says that trying again is
// useless: everything stops with its words. SIGTERM or SIGINT stops gracefully in the order of `children`
// (the gateway drains, then the engines go); a second one kills. Children die with the supervisor, however
// that dies (PR_SET_PDEATHSIG), and are killed for memory before it (oom_score_adj).
//
// Threads: the caller's, which must be the process's first; children are forked from it.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace penstock {

constexpr int kExitDoNotRetry = 78;  // EX_CONFIG of sysexits.h

class Backoff {
 public:
  static constexpr Nanos kFirst = 50 * kMillisecond, kMost = 5 * kSecond;
  // How long to wait after a child died that had lived so long.
  Nanos AfterDeath(Nanos lived);

 private:
  Nanos next_ = kFirst;
};

struct ChildSpec {
  std::string name;                  // "gateway", "engine cpu0": for people
  std::vector<std::string> args;     // of this same program
  int keep_fd = -1;                  // stays open in the child under the same number
  std::string log{};                 // file for its output; empty: the supervisor's own
  Nanos stop_within = 10 * kSecond;  // after SIGTERM; then it is killed
  int oom_score = 0;                 // more: killed sooner when memory runs out
};

// Runs until told to stop; returns the exit status.
Result<int> Supervise(std::vector<ChildSpec> children);

// Why a child ended, from waitpid's status: "exit status 1", "killed by SIGKILL (out of memory)".
std::string DescribeExit(int wait_status, bool out_of_memory);

}  // namespace penstock
