// A job that its engine failed, refused or lost: it goes on elsewhere, or ends with an error.
#include <algorithm>

#include "engine/wire_error.h"
#include "fleet/pool/pool.h"

namespace penstock {

// A choice failed: another engine may do better, or the whole job fails with the engine's own error.
void Pool::OnError(Member& member, LiveJob& job, const Error& error) {
  const Blame blame = BlameOf(error);
  if (blame == Blame::kEngine && Offers(job.request.model())) return OnFault(member, job, error);
  if (blame == Blame::kKind && OnUnable(member, job, error)) return;
  if (job.answer.choices_left > 1) CancelAt(member, job);
  FailJob(job, error);
}

// The engine failed, through no fault of the job's: another may do better.
void Pool::OnFault(Member& member, LiveJob& job, const Error& error) {
  if (job.answer.choices_left > 1) CancelAt(member, job);
  job.attempts.avoid = member.key;
  Error why = Reworded(error, fmt::format("engine {}: {}", member.name(), error.message));
  if (why.code == Code::kUnavailable && why.reason == Reason::kNone) why.reason = Reason::kEngineGone;
  Requeue(job, why);
  NoteTrouble(member, Health::kFault, error.message);
  AskForTurn();
}

// The engine cannot do what the job asks, which is no fault; others say themselves whether they can. False:
// no other engine is left to ask, or it is too late.
bool Pool::OnUnable(Member& member, LiveJob& job, const Error& error) {
  if (job.where.emitted || (job.answer.begun && !job.answer.can_resume)) return false;
  job.attempts.unable.push_back(member.key);
  const bool others = std::ranges::any_of(served_, [&](const auto& served) {
    if (!job.MayRunAs(served.first)) return false;
    return std::ranges::any_of(members_.Candidates(served.first), [&](Candidate candidate) {
      Adapt(candidate, job, /*others=*/false);
      return candidate.model == Candidate::Model::kReady || candidate.model == Candidate::Model::kLoading;
    });
  });
  if ((!others && !job.answer.begun) || job.attempts.moves >= LiveJob::kMostMoves) return false;
  if (job.answer.choices_left > 1) CancelAt(member, job);
  Leave(job);
  ++job.attempts.moves;
  WaitAgain(job);
  TellEventOf(job, JobEvent::kRequeued, fmt::format("engine {}: {}", member.name(), error.message));
  return true;
}

std::vector<JobId> Pool::JobsOf(const Member& member) const {
  std::vector<JobId> there;
  for (const auto& [id, job] : jobs_) {
    if (job->where.here.member() == &member) there.push_back(id);
  }
  std::ranges::sort(there);
  return there;
}

void Pool::RequeueAll(Member& member, const Error& why) {
  if (member.occupied().jobs == 0) return;
  std::vector<JobId> there = JobsOf(member);
  // The latest first, so that the earliest ends up at the head of its team's line.
  std::ranges::reverse(there);
  for (const JobId id : there) Requeue(*Find(id), why);
}

// What to do with a job whose engine is gone, or failed it. Where it cannot go on, it fails with the code and
// the reason of `why`.
void Pool::Requeue(LiveJob& job, const Error& why) {
  if (job.cancelled) return Erase(job);
  job.transfer.Forget();  // half of it, or of an engine that is not to be believed
  const Answer& answer = job.answer;
  if (answer.begun && !answer.can_resume) {
    return FailJob(job, Reworded(why, fmt::format("the answer broke off, {}; what came until then is billed, "
                                                  "send the request again for a whole answer",
                                                  why.message)));
  }
  if (job.attempts.requeues >= options_.max_requeues) {
    return FailJob(job, Reworded(why, fmt::format("{} engines failed while they worked on this request (the "
                                                  "last: {}); it is not tried again",
                                                  job.attempts.requeues + 1, why.message)));
  }
  ++job.attempts.requeues;
  ++stats_.requeued;
  Leave(job);
  if (answer.begun) ++stats_.resumed;
  WaitAgain(job);
  TellEventOf(job, JobEvent::kRequeued,
              answer.begun ? fmt::format("{}; it goes on after {} tokens", why.message, answer.tokens())
                           : why.message);
}

// At the head of its team's line, for it has waited before.
void Pool::WaitAgain(LiveJob& job) {
  job.wait.since = now_;
  queue_.PushFront(job.request.team(), job.id);
  const Nanos until = now_ + options_.resume_within;
  // A client that has read a part is better served by an error than by a long silence.
  if (job.answer.begun) {
    WaitUntil(job, until);
  } else if (job.wait.until > 0) {
    WaitUntil(job, std::max(job.wait.until, until));
  }
}

// REQUIRES: its deadline is not looked at now.
void Pool::WaitUntil(LiveJob& job, Nanos until) {
  job.wait.until = until;
  deadlines_.emplace(until, job.id);
}

void Pool::CheckDeadlines() {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now_) {
    LiveJob& job = *Find(deadlines_.begin()->second);
    if (job.answer.begun && !job.wait.any_room && PlaceJob(job).verdict == Verdict::kTooLong) {
      // The engine that had memory for it does not come back: it gets what the others have room for.
      deadlines_.erase(deadlines_.begin());
      job.wait.any_room = true;
      WaitUntil(job, now_ + options_.resume_within);
      AskForTurn();
      continue;
    }
    ++stats_.timed_out;
    FailJob(job, TookTooLong(job));
  }
}

Error Pool::TookTooLong(LiveJob& job) {
  const bool nobody = std::ranges::none_of(members_, [](const auto& member) { return member->connected(); });
  const Verdict verdict = PlaceJob(job).verdict;
  const bool busy = verdict <= Verdict::kNoSequence;
  return {
      busy ? Code::kOverloaded : Code::kUnavailable,
      fmt::format("{} {:.1f} s for model {}: {}; {} requests wait; try again later",
                  job.answer.begun ? "the answer broke off, and no engine went on with it within" : "waited",
                  static_cast<double>(now_ - job.wait.since) / kSecond, job.request.model(),
                  nobody ? "no engine is connected" : VerdictText(verdict), queue_.waiting()),
      Reason::kQueueTimeout};
}

}  // namespace penstock
