// A job that goes on elsewhere with what was computed of it: its engine was set aside, is about to end, or
// has no memory for a longer text; and another that takes its bytes has room.
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
constexpr size_t kLargestPart = size_t{2} << 20;      // of State.data: as much again must fit into a frame

// What its keys and values come to, about; running states are less.
uint64_t BytesOf(const LiveJob& job) {
  const wire::ModelState* state = job.engine->Find(job.variant);
  uint64_t pages = 0;
  for (const LiveJob::Choice& choice : job.choices) {
    if (!choice.ended)
      pages += (static_cast<uint64_t>(job.submit.prompt_size()) + choice.ids.size()) / kPageTokens + 1;
  }
  return state == nullptr ? 0 : pages * state->page_bytes();
}

}  // namespace

void FleetImpl::MoveNext(Member& member) {
  if (!member.connected() || member.takes_jobs() || member.moving != 0 || member.jobs == 0) return;
  if (member.hello.state().empty()) return;
  for (const JobId id : JobsOf(member)) {
    LiveJob& job = *Find(id);
    if (!job.sink || job.moves >= LiveJob::kMostMoves || BytesOf(job) > kMostBytes) continue;
    const Placement placement = PlaceJob(job, &member);
    if (!placement.seat) continue;
    return Move(job, *options_of_[*placement.seat].member);
  }
}

void FleetImpl::Move(LiveJob& job, Member& next) {
  KeepSeat(job, next);
  job.engine->moving = job.id;
  auto& release = *job.engine->link->Send().mutable_release();
  release.set_request(job.wire_id());
  release.set_most_bytes(kMostBytes);
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
  if (state.data().empty()) return;
  if (state.data().size() > kLargestPart || job->state_bytes + state.data().size() > kMostBytes)
    return Lose(member, "it sends more of a sequence than it was asked for");
  job->state_form = member.hello.state();
  job->state_from = member.key;
  job->state_bytes += state.data().size();
  job->states.resize(job->choices.size());
  LiveJob::State& kept = job->states[state.choice()];
  kept.tokens = state.tokens();
  kept.parts.push_back(state.data());
}

void FleetImpl::OnReleased(Member& member, const wire::Released& released) {
  LiveJob* job = Find(member, released.request());
  if (job == nullptr || member.moving != job->id) return;
  TellWhy(*job);
  GoOn(*job);
  MoveNext(member);
}

// The sink may cancel the job, which stays until its engine is rid of it.
void FleetImpl::TellWhy(const LiveJob& job) {
  const auto sink = job.sink;
  if (!sink) return;
  const Member& from = *job.engine;
  const char* why = from.leaving     ? "is restarted"
                    : from.set_aside ? "is set aside"
                                     : "has no memory for a longer text";
  sink->OnEvent(JobEvent::kRequeued, fmt::format("engine {} {}", from.name(), why));
}

// There was a seat for it; if it is gone by now, the job waits for the next.
void FleetImpl::GoOn(LiveJob& job) {
  if (!job.sink) return Erase(job);
  const Member* const from = job.states.empty() ? nullptr : job.engine;
  Leave(job);
  ++job.moves;
  ++stats_.moved;
  placement_ = PlaceJob(job, from);
  if (placement_.seat) return Send(job);
  WaitAgain(job);
  if (!Offers(job.submit.model())) Post([this] { FailHopeless(); });  // withdrawn while it was on its way
}

// ---- answers that have come to the end of their engine's memory ----

void FleetImpl::CheckOutgrown(Nanos now) {
  for (const JobId id : std::set(outgrown_)) {
    LiveJob& job = *Find(id);
    if (!job.sink || job.engine->moving == id) continue;
    // Where nobody has more memory, that is the end of the answer.
    const bool may =
        job.can_resume && job.moves < LiveJob::kMostMoves && now - job.outgrown < options_.resume_within;
    if (!may || !HandOn(job)) EndThere(job);
  }
}

// False: there is nobody. True: it goes on elsewhere, or waits for room there.
bool FleetImpl::HandOn(LiveJob& job) {
  Member& from = *job.engine;
  if (!from.hello.state().empty() && BytesOf(job) <= kMostBytes) {
    if (const Placement with = PlaceJob(job, &from); with.seat) {
      if (from.moving == 0) Move(job, *options_of_[*with.seat].member);  // else when that one has gone
      return true;
    }
  }
  if (const Placement anew = PlaceJob(job); !anew.seat) return anew.verdict <= Verdict::kLoading;
  from.link->Send().mutable_cancel()->set_request(job.wire_id());
  TellWhy(job);
  GoOn(job);
  return true;
}

// With the last token that its engine has room for.
void FleetImpl::EndThere(LiveJob& job) {
  outgrown_.erase(job.id);
  const uint64_t before = job.Allowed(job.choices[0]);
  job.cap = 0;
  if (job.Allowed(job.choices[0]) <= before) return;
  auto& credit = *job.engine->link->Send().mutable_credit();
  credit.set_request(job.wire_id());
  credit.set_tokens(static_cast<uint32_t>(job.room - before));
}

}  // namespace penstock
