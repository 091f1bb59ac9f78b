// Supervisor: keeps one gateway and its engines running, holds their listening socket, and passes on the
// wish to stop.
//
// A child that dies is started again after a back-off that doubles from 50 ms to 5 s. Time lived pays it
// back: each 3 s halve it, 10 s reset it. A child that ends with kExitDoNotRetry says that trying again is
// useless: everything stops with its words. SIGTERM or SIGINT stops gracefully in the order of `children`
// (the gateway drains, then the engines go); a second one kills. Children die with the supervisor, however
// that dies (PR_SET_PDEATHSIG), and are killed for memory before it (oom_score_adj).
//
// SIGHUP restarts them one after another, the first of `children` last: each is told to end, starts again,
// and only when it is ready comes the next. A child that does not come back ends the restart: the others stay
// as they are. Children are started from the program's path, so that after an upgrade they are the new one.
//
// Threads: the caller's, which must be the process's first; children are forked from it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
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

  std::vector<int> cores{};  // it may run on these alone; empty: on all of ours
  int numa = -1;             // its memory is of this node; -1: of any
  std::string group{};       // a control group's file of processes, which it joins

  // Of a rolling restart: how long what runs in it may take to end; and what to run, of this same program and
  // with the old process's id after it, which ends with 0 when the new one is ready. Empty: ready at once.
  Nanos drain_within = 10 * kSecond;
  std::vector<std::string> await{};

  // It was killed for memory, and had held so much at most. May change what it is started with; says what it
  // did.
  std::function<std::string(ChildSpec&, uint64_t peak_bytes)> out_of_memory{};
};

// Runs until told to stop; returns the exit status.
Result<int> Supervise(std::vector<ChildSpec> children);

// Why a child ended, from waitpid's status: "exit status 1", "killed by SIGKILL (out of memory)".
std::string DescribeExit(int wait_status, bool out_of_memory);

// What this process was started from, if that is still there (or there again, after an upgrade): else
// "/proc/self/exe".
std::string ProgramPath();

}  // namespace penstock
