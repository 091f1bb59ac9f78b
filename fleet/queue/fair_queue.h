// FairQueue: which team's job goes next. VTC in measured chip time.
//
// Each team has a virtual counter of chip time received ÷ weight. The waiting job of the team with the
// smallest counter goes next; within a team, first in, first out. A job is charged an estimate when it
// leaves the queue and the difference when its measured time is known, so that a team cannot slip many
// jobs through before the first is charged. A team that had nothing waiting has its counter lifted when it
// queues again: to the least one that waits, or, when none does, to the furthest that any team got while
// none did. So idling saves nothing up, and what was used while nobody waited is held against nobody.
// Source: Sheng et al., Fairness in Serving Large Language Models, OSDI 2024 (tokens there, chip time
// here: a slow chip's token costs more capacity).
//
// Cost: O(log teams) an event; Pop asks `fits` once per backlogged team at most.
// Pure and deterministic: no clock, no I/O; sim/ runs the same code. Threads: one.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <utility>
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
  // only. It counts as running until Done. `fits` must not call the queue.
  std::optional<QueuedJob> Pop(const std::function<bool(QueuedJob)>& fits, Nanos estimate);
  // Removes a waiting job; false if it does not wait.
  bool Remove(TeamKey team, QueuedJob job);

  // Measured chip time of a running job. The first charges replace its estimate. Others are ignored.
  void Charge(QueuedJob job, Nanos chip_time);
  // It ended; what its estimate held too much is given back.
  void Done(QueuedJob job);

  size_t waiting() const { return waiting_.size(); }
  size_t running() const { return running_.size(); }
  std::vector<TeamView> View() const;

 private:
  using Line = std::list<QueuedJob>;
  struct Team {
    double weight = 1, counter = 0;
    uint64_t received = 0;
    uint32_t running = 0;
    Line line;
  };
  struct Waiting {
    TeamKey team = 0;
    Line::iterator place;
  };
  struct Running {
    TeamKey team = 0;
    Nanos estimate_left = 0;
  };
  using Order = std::set<std::pair<double, TeamKey>>;

  void Enqueue(TeamKey key, QueuedJob job, bool front);
  void Unqueue(TeamKey key, Team& team, Line::iterator place);
  void Add(TeamKey key, Team& team, double chip_time);
  QueuedJob Start(TeamKey key, Nanos estimate);
  void Lift(Team& team) const;
  void NoteUncontended(const Team& team);

  std::map<TeamKey, Team> teams_;
  Order backlogged_;  // (counter, team) of every team with a line
  boost::unordered_flat_map<QueuedJob, Waiting> waiting_;
  boost::unordered_flat_map<QueuedJob, Running> running_;
  double uncontended_ = 0;  // the furthest counter seen while no team waited
};

}  // namespace penstock
