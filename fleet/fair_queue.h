// FairQueue: which team's job goes next. VTC in measured chip time.
//
// Each team has a virtual counter of chip time received ÷ weight. The waiting job of the team with the
// smallest counter goes next; within a team, first in, first out. A job is charged an estimate when it
// leaves the queue and the difference when its measured time is known, so that a team cannot slip many
// jobs through before the first is charged. A team that returns from idling has its counter lifted to the
// least active one, so idling saves nothing up.
// Source: Sheng et al., Fairness in Serving Large Language Models, OSDI 2024 (tokens there, chip time
// here: a slow chip's token costs more capacity).
//
// Pure and deterministic: no clock, no I/O; sim/ runs the same code. Threads: one.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "base/clock.h"

namespace penstock {

using TeamKey = uint64_t;
using QueuedJob = uint64_t;

class FairQueue {
 public:
  struct TeamView {
    TeamKey team = 0;
    uint32_t waiting = 0, running = 0;
    double counter = 0;     // virtual chip nanoseconds
    uint64_t received = 0;  // measured chip nanoseconds
  };

  void SetWeight(TeamKey team, double weight);  // > 0; 1 when never set

  void Push(TeamKey team, QueuedJob job);
  // Back to the head of its team's line (its engine died); its charges stay.
  void PushFront(TeamKey team, QueuedJob job);
  // The next job for which `fits` holds, tried team by team in order of counters, the head of each line
  // only. It counts as running until Done.
  std::optional<QueuedJob> Pop(const std::function<bool(QueuedJob)>& fits, Nanos estimate);
  // Removes a waiting job; false if it does not wait.
  bool Remove(TeamKey team, QueuedJob job);

  // Measured chip time of a running job. The first charges replace its estimate.
  void Charge(QueuedJob job, Nanos chip_time);
  void Done(QueuedJob job);

  size_t waiting() const;
  std::vector<TeamView> View() const;

 private:
  struct Team {
    double weight = 1, counter = 0;
    uint64_t received = 0;
    uint32_t running = 0;
    std::deque<QueuedJob> line;
  };
  struct Running {
    TeamKey team = 0;
    Nanos estimate_left = 0;
  };
  void Lift(Team& team);

  std::map<TeamKey, Team> teams_;
  std::map<QueuedJob, Running> running_;
  size_t waiting_ = 0;
};

}  // namespace penstock
