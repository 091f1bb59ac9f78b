#include "fleet/queue/fair_queue.h"

#include <algorithm>

#include "base/check.h"

namespace penstock {

void FairQueue::SetWeight(TeamKey key, double weight) {
  PENSTOCK_CHECK(weight > 0);
  teams_[key].weight = weight;
}

void FairQueue::Push(TeamKey team, QueuedJob job) {
  Enqueue(team, job, /*front=*/false);
}

void FairQueue::PushFront(TeamKey team, QueuedJob job) {
  Done(job);
  Enqueue(team, job, /*front=*/true);
}

void FairQueue::Enqueue(TeamKey key, QueuedJob job, bool front) {
  Team& team = teams_[key];
  if (team.line.empty()) {
    Lift(team);
    backlogged_.emplace(team.counter, key);
  }
  const auto place = team.line.insert(front ? team.line.begin() : team.line.end(), job);
  const bool added = waiting_.emplace(job, Waiting{key, place}).second;
  PENSTOCK_CHECK(added);
}

void FairQueue::Lift(Team& team) const {
  const double least = backlogged_.empty() ? uncontended_ : backlogged_.begin()->first;
  team.counter = std::max(team.counter, least);
}

std::optional<QueuedJob> FairQueue::Pop(const std::function<bool(QueuedJob)>& fits, Nanos estimate) {
  for (const auto& [counter, key] : backlogged_) {
    if (fits(teams_[key].line.front())) return Start(key, estimate);
  }
  return std::nullopt;
}

QueuedJob FairQueue::Start(TeamKey key, Nanos estimate) {
  Team& team = teams_[key];
  const QueuedJob job = team.line.front();
  Unqueue(key, team, team.line.begin());
  ++team.running;
  running_.emplace(job, Running{key, estimate});
  Add(key, team, static_cast<double>(estimate));
  return job;
}

bool FairQueue::Remove(TeamKey key, QueuedJob job) {
  const auto found = waiting_.find(job);
  if (found == waiting_.end() || found->second.team != key) return false;
  Unqueue(key, teams_[key], found->second.place);
  return true;
}

void FairQueue::Unqueue(TeamKey key, Team& team, Line::iterator place) {
  waiting_.erase(*place);
  team.line.erase(place);
  if (!team.line.empty()) return;
  backlogged_.erase({team.counter, key});
  NoteUncontended(team);
}

void FairQueue::Charge(QueuedJob job, Nanos chip_time) {
  const auto found = running_.find(job);
  if (found == running_.end()) return;
  Running& running = found->second;
  Team& team = teams_[running.team];
  const Nanos covered = std::min(chip_time, running.estimate_left);
  running.estimate_left -= covered;
  team.received += static_cast<uint64_t>(chip_time);
  Add(running.team, team, static_cast<double>(chip_time - covered));
}

void FairQueue::Done(QueuedJob job) {
  const auto found = running_.find(job);
  if (found == running_.end()) return;
  const Running running = found->second;
  running_.erase(found);
  Team& team = teams_[running.team];
  --team.running;
  Add(running.team, team, -static_cast<double>(running.estimate_left));
}

// Moves the team's counter, and with it its place in the order.
void FairQueue::Add(TeamKey key, Team& team, double chip_time) {
  if (chip_time == 0) return;
  const double before = team.counter;
  team.counter += chip_time / team.weight;
  if (!team.line.empty()) {
    backlogged_.erase({before, key});
    backlogged_.emplace(team.counter, key);
  }
  NoteUncontended(team);
}

void FairQueue::NoteUncontended(const Team& team) {
  if (backlogged_.empty()) uncontended_ = std::max(uncontended_, team.counter);
}

std::vector<FairQueue::TeamView> FairQueue::View() const {
  std::vector<TeamView> view;
  view.reserve(teams_.size());
  for (const auto& [key, team] : teams_) {
    view.push_back({key, static_cast<uint32_t>(team.line.size()), team.running, team.counter, team.received});
  }
  return view;
}

}  // namespace penstock
