// That every total is what the jobs add up to, and every job is in one place.
#include <algorithm>

#include "fleet/pool/pool.h"

namespace penstock {
namespace {

std::string Shown(const Occupancy& amounts) {
  return fmt::format("{} jobs, {} sequences, {} pages, {} tokens to compute, {} positions", amounts.jobs,
                     amounts.sequences, amounts.pages, amounts.prefill, amounts.context);
}

}  // namespace

Status Pool::CheckIntegrity() {
  PENSTOCK_TRY(CheckTotals());
  PENSTOCK_TRY(CheckQueue());
  PENSTOCK_TRY(CheckMoves());
  return members_.CheckIntegrity();
}

Status Pool::CheckTotals() const {
  std::map<const Member*, Occupancy> totals;
  for (const auto& [id, job] : jobs_) {
    for (const Assignment* assignment : {&job->where.here, &job->where.reserved}) {
      if (assignment->member() != nullptr) totals[assignment->member()] += assignment->amounts();
    }
    const Occupancy& here = job->where.here.amounts();
    if (job->where.here.member() != nullptr && (here.jobs != 1 || here.sequences != job->answer.choices_left))
      return Fail(Code::kInternal, "job {} with {} choices left occupies {}", id, job->answer.choices_left,
                  Shown(here));
  }
  for (const auto& member : members_) {
    const Occupancy total = totals[member.get()];
    if (total != member->occupied())
      return Fail(Code::kInternal, "engine {} is counted as occupied by {}; its jobs occupy {}",
                  member->name(), Shown(member->occupied()), Shown(total));
    if (!member->open && total != Occupancy())
      return Fail(Code::kInternal, "engine {} is gone and is occupied by {}", member->name(), Shown(total));
    totals.erase(member.get());
  }
  if (!totals.empty()) return Fail(Code::kInternal, "a job is assigned to an engine that is not a member");
  return {};
}

Status Pool::CheckQueue() const {
  size_t waiting = 0, running = 0, live = 0, with_deadline = 0;
  for (const auto& [id, job] : jobs_) {
    const bool waits = job->where.here.member() == nullptr;
    ++(waits ? waiting : running);
    live += job->cancelled ? 0 : 1;
    if (waits && job->cancelled) return Fail(Code::kInternal, "job {} waits and is cancelled", id);
    if (job->answer.choices_left == 0)
      return Fail(Code::kInternal, "job {} has ended and is still there", id);
    if (!waits || job->wait.until == 0) continue;
    ++with_deadline;
    if (!deadlines_.contains({job->wait.until, id}))
      return Fail(Code::kInternal, "job {} waits, and its deadline is not looked at", id);
  }
  if (waiting != queue_.waiting() || running != queue_.running())
    return Fail(Code::kInternal, "{} jobs wait and {} run; the queue counts {} and {}", waiting, running,
                queue_.waiting(), queue_.running());
  if (live != live_) return Fail(Code::kInternal, "{} jobs are live, {} are counted", live, live_);
  if (with_deadline != deadlines_.size())
    return Fail(Code::kInternal, "{} jobs wait with a deadline, {} are looked at", with_deadline,
                deadlines_.size());
  return {};
}

Status Pool::CheckMoves() const {
  for (const auto& member : members_) {
    if (member->moving == 0) continue;
    const auto job = jobs_.find(member->moving);
    if (job == jobs_.end() || job->second->where.here.member() != member.get())
      return Fail(Code::kInternal, "engine {} is to release job {}, which it does not have", member->name(),
                  member->moving);
  }
  for (const auto& [id, job] : jobs_) {
    const Whereabouts& where = job->where;
    if (where.reserved.member() != nullptr &&
        (where.here.member() == nullptr || where.here.member()->moving != id))
      return Fail(Code::kInternal, "a place is reserved for job {}, which does not move", id);
    if (outgrown_.contains(id) != (where.outgrown > 0))
      return Fail(Code::kInternal, "job {} is {}known to have outgrown its engine", id,
                  where.outgrown > 0 ? "not " : "");
  }
  for (const JobId id : outgrown_) {
    if (!jobs_.contains(id)) return Fail(Code::kInternal, "job {} outgrew its engine and is gone", id);
  }
  return {};
}

}  // namespace penstock
