// A job that goes on elsewhere with what was computed of it: its engine was set aside or is about to end, and
// another that takes its bytes has room.
//
//   Release → State …, Released → State … and Submit to whoever costs least now
//
// One at a time from each engine: what is on its way is in this process's memory. A job that nobody can take
// over stays where it is and ends there.
#include <algorithm>

#include "fleet/fleet_impl.h"

namespace penstock {
namespace {

constexpr uint64_t kMostBytes = uint64_t{256} << 20;  // of one job

}  // namespace

void FleetImpl::MoveNext(Member& member) {
  if (!member.connected() || member.takes_jobs() || member.moving != 0 || member.jobs == 0) return;
  if (member.hello.state().empty()) return;
  for (const JobId id : JobsOf(member)) {
    LiveJob& job = *Find(id);
    if (!job.sink || job.moves >= LiveJob::kMostMoves) continue;
    const Placement placement = PlaceJob(job, &member);
    if (!placement.seat) continue;
    KeepSeat(job, *options_of_[*placement.seat].member);
    member.moving = id;
    auto& release = *member.link->Send().mutable_release();
    release.set_request(job.wire_id());
    release.set_most_bytes(kMostBytes);
    return;
  }
}

// So that nobody else takes it while the job is on its way.
void FleetImpl::KeepSeat(LiveJob& job, Member& next) {
  job.next = &next;
  job.kept = job.choices_left;
  next.sequences += job.kept;
}

void FleetImpl::GiveUpSeat(LiveJob& job) {
  if (job.next != nullptr) job.next->sequences -= job.kept;
  job.next = nullptr;
}

void FleetImpl::OnState(Member& member, const wire::State& state) {
  LiveJob* job = Find(member, state.request());
  if (job == nullptr || member.moving != job->id || state.choice() >= job->choices.size()) return;
  if (job->StateBytes() + state.data().size() > kMostBytes)
    return Lose(member, "it sends more of a sequence than it was asked for");
  job->state_form = member.hello.state();
  job->states.resize(job->choices.size());
  LiveJob::State& kept = job->states[state.choice()];
  kept.tokens = state.tokens();
  kept.parts.push_back(state.data());
}

void FleetImpl::OnReleased(Member& member, const wire::Released& released) {
  LiveJob* job = Find(member, released.request());
  if (job == nullptr || member.moving != job->id) return;
  const JobId id = job->id;
  if (const auto sink = job->sink) {
    sink->OnEvent(JobEvent::kRequeued, fmt::format("engine {} {}", member.name(),
                                                   member.leaving ? "is restarted" : "is set aside"));
  }
  if (job = Find(id); job != nullptr) GoOn(*job);
  MoveNext(member);
}

// There was a seat for it; if it is gone by now, the job waits for the next.
void FleetImpl::GoOn(LiveJob& job) {
  if (!job.sink) return Erase(job);
  const Member& from = *job.engine;
  Leave(job);
  ++job.moves;
  ++stats_.moved;
  placement_ = PlaceJob(job, &from);
  if (!placement_.seat) return WaitAgain(job);
  Send(job);
}

}  // namespace penstock
