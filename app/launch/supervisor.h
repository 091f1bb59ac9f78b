// Supervisor: keeps one gateway and its engines running, holds their listening socket, and stops them.
//
// A child that dies is restarted after a back-off that doubles from 50 ms to 5 s. Run time reduces it: each 3
// s halve it, 10 s reset it. A child ends with kExitDoNotRetry if a restart would not help: then everything
// stops, and the child's message is printed. SIGTERM or SIGINT stops gracefully in the order of `children`
// (the gateway drains, then the engines stop); a second signal kills. Children die with the supervisor, for
// whatever reason it dies (PR_SET_PDEATHSIG), and the kernel kills them for memory before the supervisor
// (oom_score_adj).
//
// SIGHUP restarts the children one after another, the first of `children` last: each is asked to end and
// starts again, and the next one follows only when it is ready. A child that does not come back ends the
// restart; the others are not restarted. Children are started from the program's path, so after an upgrade
// they run the new binary.
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
  // How long to wait before the restart of a child that died after `lived`.
  Nanos AfterDeath(Nanos lived);

 private:
  Nanos next_ = kFirst;
};

struct ChildSpec {
  std::string name;                  // as shown to users: "gateway", "engine cpu0"
  std::vector<std::string> args;     // arguments for this same program
  int keep_fd = -1;                  // stays open in the child under the same number
  std::string log{};                 // file for its output; empty: the supervisor's own
  Nanos stop_within = 10 * kSecond;  // after SIGTERM; then it is killed
  int oom_score = 0;                 // higher: killed earlier when memory runs out

  std::vector<int> cores{};  // it may run only on these; empty: on all that we may use
  int numa = -1;             // its memory comes from this node; -1: from any node
  std::string group{};       // the file of a control group that lists its processes; the child joins it

  // For a rolling restart: how long its requests may take to end; and the arguments of a helper (this same
  // program, with the old process's id added) that exits with 0 when the new child is ready. Empty: ready at
  // once.
  Nanos drain_within = 10 * kSecond;
  std::vector<std::string> await{};

  // Called when it was killed for memory, with the most memory that it used. May change its arguments;
  // returns what it did, in words.
  std::function<std::string(ChildSpec&, uint64_t peak_bytes)> out_of_memory{};
};

// Runs until a signal stops it; returns the exit status.
Result<int> Supervise(std::vector<ChildSpec> children);

// Why a child ended, from waitpid's status: "exit status 1", "killed by SIGKILL (out of memory)".
std::string DescribeExit(int wait_status, bool out_of_memory);

// The path of this process's program, if a file exists there (perhaps a newer one, after an upgrade); else
// "/proc/self/exe".
std::string ProgramPath();

}  // namespace penstock
