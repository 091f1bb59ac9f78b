// A job that moves to another engine with what was computed of it: its engine was set aside, is about to end,
// or has no memory for a longer text; and an engine that can use its bytes has room.
//
//   Release → State …, Released → State … and Submit to the engine that costs least now
//
// One at a time from each engine, because what is on its way is in this process's memory. A job that no
// engine can take over stays where it is and ends there.
#include <algorithm>

#include "fleet/pool/pool.h"

namespace penstock {
namespace {

constexpr uint64_t kMostBytes = uint64_t{256} << 20;  // of one job
constexpr size_t kLargestPart = size_t{2} << 20;      // of State.data: as much again must fit into a frame

// The size of its keys and values, about; running states are smaller.
uint64_t BytesOf(const LiveJob& job) {
  const wire::ModelState* state = job.where.here.member()->Find(job.where.variant);
  uint64_t pages = 0;
  for (const Answer::Choice& choice : job.answer.choices) {
    if (!choice.ended) pages += (job.request.prompt() + choice.ids.size()) / kPageTokens + 1;
  }
  return state == nullptr ? 0 : pages * state->page_bytes();
}

}  // namespace

void Pool::MoveNext(Member& member) {
  if (!member.connected() || member.takes_jobs() || member.moving != 0 || member.occupied().jobs == 0) return;
  if (member.hello.state().empty()) return;
  for (const JobId id : JobsOf(member)) {
    LiveJob& job = *Find(id);
    if (job.cancelled || job.attempts.moves >= LiveJob::kMostMoves || BytesOf(job) > kMostBytes) continue;
    const Placement placement = PlaceJob(job, &member);
    if (placement.chosen) return Move(job, *members_.Find(placement.chosen->engine));
  }
}

// Reserves its sequences at `next`, so that no other job takes them meanwhile.
void Pool::Move(LiveJob& job, Member& next) {
  Member& from = *job.where.here.member();
  job.where.reserved.Acquire(next, {.sequences = job.answer.choices_left});
  from.moving = job.id;
  auto& release = *Send(from).mutable_release();
  release.set_request(job.wire_id());
  release.set_most_bytes(kMostBytes);
}

void Pool::OnState(Member& member, const wire::State& state) {
  LiveJob* job = FindAt(member, state.request());
  if (job == nullptr || member.moving != job->id || state.choice() >= job->answer.choices.size()) return;
  if (state.data().empty()) return;
  Transfer& transfer = job->transfer;
  if (state.data().size() > kLargestPart || transfer.bytes + state.data().size() > kMostBytes)
    return Lose(member, "it sends more of a sequence than it was asked for");
  transfer.form = member.hello.state();
  transfer.from = member.key;
  transfer.bytes += state.data().size();
  transfer.choices.resize(job->answer.choices.size());
  Transfer::Choice& choice = transfer.choices[state.choice()];
  choice.tokens = state.tokens();
  choice.parts.push_back(state.data());
}

void Pool::OnReleased(Member& member, const wire::Released& released) {
  LiveJob* job = FindAt(member, released.request());
  if (job == nullptr || member.moving != job->id) return;
  TellWhyItMoves(*job);
  GoOn(*job);
  MoveNext(member);
}

void Pool::TellWhyItMoves(const LiveJob& job) {
  const Member& from = *job.where.here.member();
  const char* why = from.leaving     ? "is restarted"
                    : from.set_aside ? "is set aside"
                                     : "has no memory for a longer text";
  TellEventOf(job, JobEvent::kRequeued, fmt::format("engine {} {}", from.name(), why));
}

// Its sequences were reserved; if there is no room after all, the job waits for the next.
void Pool::GoOn(LiveJob& job) {
  if (job.cancelled) return Erase(job);
  const Member* const from = job.transfer.choices.empty() ? nullptr : job.where.here.member();
  Leave(job);
  ++job.attempts.moves;
  ++stats_.moved;
  const Placement placement = PlaceJob(job, from);
  if (placement.chosen) {
    job.wait.since = now_;
    return SendJob(job, placement);
  }
  WaitAgain(job);
  if (Offers(job.request.model())) return;
  check_hopeless_ = true;  // the model was withdrawn while the job was on its way
  AskForTurn();
}

// ---- answers that have come to the end of their engine's memory ----

void Pool::CheckOutgrown() {
  for (const JobId id : std::set(outgrown_)) {
    LiveJob& job = *Find(id);
    if (job.cancelled || job.where.here.member()->moving == id) continue;
    // Where no engine has more memory, that is the end of the answer.
    const bool may = job.answer.can_resume && job.attempts.moves < LiveJob::kMostMoves &&
                     now_ - job.where.outgrown < options_.resume_within;
    if (!may || !HandOn(job)) EndThere(job);
  }
}

// False: no engine has more memory. True: it goes on elsewhere, or waits for room there.
bool Pool::HandOn(LiveJob& job) {
  Member& from = *job.where.here.member();
  if (!from.hello.state().empty() && BytesOf(job) <= kMostBytes) {
    if (const Placement with = PlaceJob(job, &from); with.chosen) {
      // Otherwise it waits until the one that moves now has gone.
      if (from.moving == 0) Move(job, *members_.Find(with.chosen->engine));
      return true;
    }
  }
  if (const Placement anew = PlaceJob(job); !anew.chosen) return anew.verdict <= Verdict::kLoading;
  CancelAt(from, job);
  TellWhyItMoves(job);
  GoOn(job);
  return true;
}

// With the last token that its engine has room for.
void Pool::EndThere(LiveJob& job) {
  outgrown_.erase(job.id);
  job.where.outgrown = 0;
  const uint64_t before = job.Allowed(job.answer.choices[0]);
  job.where.cap = 0;
  if (job.Allowed(job.answer.choices[0]) <= before) return;
  auto& credit = *Send(*job.where.here.member()).mutable_credit();
  credit.set_request(job.wire_id());
  credit.set_tokens(static_cast<uint32_t>(job.where.room - before));
}

}  // namespace penstock
