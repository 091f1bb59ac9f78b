// A job from Submit to its end: what its engine says of it, and how it goes on elsewhere.
#include <algorithm>

#include "engine/frame.h"
#include "engine/wire_error.h"
#include "fleet/fleet_impl.h"

namespace penstock {
namespace {

constexpr Nanos kForgetCancelled = 5 * kSecond;  // an engine that never says that a job ended
constexpr Nanos kLongestStep = 3600 * kSecond;   // a charge above it is a peer's mistake
constexpr double kFirstOutput = 64;              // tokens of an answer, before any was counted

}  // namespace

Status FleetImpl::MayRun(std::string_view model, std::string_view team_name, bool external_allowed) {
  const auto refuse = [this](Error error) -> Status {
    ++stats_.refused;
    return std::unexpected(std::move(error));
  };
  if (draining_)
    return refuse(
        {Code::kUnavailable, "Penstock is being stopped; send the request again soon", Reason::kStopping});
  if (!Offers(model)) return refuse(Unserved(model));
  if (auto error = Hopeless(model)) return refuse(*std::move(error));
  if (external_allowed || !OnlyExternal(model)) return {};
  return refuse(
      {Code::kForbidden,
       fmt::format("model {} is served outside the organisation only, and team {} does not send its "
                   "text there; an operator can allow it: penstock team set {} --external yes",
                   model, team_name, team_name),
       Reason::kExternalForbidden});
}

Status FleetImpl::HasRoom(size_t jobs) {
  if (queue_.waiting() + jobs <= options_.max_waiting) return {};
  ++stats_.refused;
  return std::unexpected(
      Error{Code::kOverloaded,
            fmt::format("{} requests wait already, the most that may; try again soon", queue_.waiting()),
            Reason::kQueueFull});
}

Result<JobId> FleetImpl::Submit(Job job, std::shared_ptr<JobSink> sink) {
  PENSTOCK_TRY(MayRun(job.submit.model(), job.team_name, job.external_allowed));
  PENSTOCK_TRY(HasRoom(1));
  if (job.submit.prompt_size() > 1'000'000 && job.submit.ByteSizeLong() > kMaxFrame / 2) {
    ++stats_.refused;
    return Fail(Code::kTooLarge, "a prompt of {} tokens cannot be sent to an engine; shorten it",
                job.submit.prompt_size());
  }
  auto live = std::make_unique<LiveJob>();
  const JobId id = live->id = ++last_id_;
  live->Start(std::move(job.submit));
  live->team = job.team;
  live->variants = std::move(job.variants);
  live->external_allowed = job.external_allowed;
  live->sink = std::move(sink);
  live->deadline = job.deadline;
  live->queued_at = clock_.Monotonic();
  live->ahead = queue_.waiting();

  queue_.Push(job.team, id);
  if (job.deadline > 0) deadlines_.emplace(job.deadline, id);
  if (std::string& name = teams_[job.team].name; name != job.team_name) name = std::move(job.team_name);
  jobs_.emplace(id, std::move(live));
  fresh_.push_back(id);
  ++live_;
  ++stats_.submitted;
  Wake();
  return id;
}

LiveJob* FleetImpl::Find(JobId id) {
  const auto found = jobs_.find(id);
  return found == jobs_.end() ? nullptr : found->second.get();
}

LiveJob* FleetImpl::Find(const Member& member, uint64_t wire_id) {
  LiveJob* job = Find(LiveJob::IdOf(wire_id));
  return job != nullptr && job->engine == &member && job->wire_id() == wire_id ? job : nullptr;
}

void FleetImpl::OnNote(Member& member, const wire::Note& note) {
  LiveJob* job = Find(member, note.request());
  if (job == nullptr) return;
  const bool first = note.kind() == wire::Note::ADMITTED && !job->admitted;
  if (first) {
    job->admitted = true;
    member.promised_pages -= job->pages();
  }
  if (!job->sink) return;
  const auto sink = job->sink;
  switch (note.kind()) {
    case wire::Note::ADMITTED:
      if (first) sink->OnEvent(JobEvent::kAdmitted, "engine " + member.name());
      break;
    case wire::Note::PREEMPTED:
      sink->OnEvent(JobEvent::kPaused, "its memory went to earlier requests; it goes on when there is room");
      break;
    case wire::Note::STARVED:
      sink->OnEvent(JobEvent::kPaused, job->outgrown > 0 ? "its engine has no memory for a longer text"
                                                         : "the client reads more slowly than tokens come");
      break;
    case wire::Note::RESUMED:
      sink->OnEvent(JobEvent::kResumed, "");
      break;
    default:
      break;  // of a later version
  }
}

void FleetImpl::OnCharge(Member& member, const wire::Charge& charge) {
  const auto chip_time = static_cast<Nanos>(std::min<uint64_t>(charge.chip_ns(), kLongestStep));
  if (prover_.Owns(charge.request())) {
    stats_.canary_chip_ns += static_cast<uint64_t>(chip_time);
    return;
  }
  LiveJob* job = Find(member, charge.request());
  if (job == nullptr) return;
  const double prefilled = std::min(job->prefill_left, static_cast<double>(charge.computed()));
  job->prefill_left -= prefilled;
  member.prefill -= prefilled;
  stats_.chip_ns += static_cast<uint64_t>(chip_time);
  stats_.computed += charge.computed();
  queue_.Charge(job->id, chip_time);
  job->chip_time += chip_time;
  if (const auto sink = job->sink) sink->OnCharge(chip_time, charge.computed());
}

void FleetImpl::OnTokens(Member& member, const wire::TokenEvent& event) {
  if (std::optional<Prover::Verdict> verdict; prover_.Hear(member.key, event, verdict)) {
    if (verdict) OnVerdict(*verdict);
    return;
  }
  LiveJob* job = Find(member, event.request());
  if (job == nullptr || job->Ended(event.choice())) return;
  if (event.finish() == wire::ERROR && job->sink) return OnError(member, *job, ErrorOf(event));
  const auto sink = job->sink;
  stats_.tokens += event.new_tokens();
  teams_[job->team].tokens += event.new_tokens();
  job->context += event.new_tokens();
  member.context += event.new_tokens();
  job->Hear(event);
  if (event.finish() == wire::STOP || event.finish() == wire::LENGTH)
    member.health.Success(clock_.Monotonic());
  if (event.finish() == wire::NONE && job->cap > 0 && event.emitted() >= job->cap && job->outgrown == 0) {
    job->outgrown = std::max<Nanos>(clock_.Monotonic(), 1);
    outgrown_.insert(job->id);
  }
  if (event.finish() != wire::NONE) FinishChoice(*job);  // may erase the job
  if (sink) sink->OnTokens(event);
}

// A choice failed: another engine may do better, or the whole job fails with the engine's own error.
void FleetImpl::OnError(Member& member, LiveJob& job, const Error& error) {
  const Blame blame = BlameOf(error);
  if (blame == Blame::kEngine && Offers(job.submit.model())) return OnFault(member, job, error);
  if (blame == Blame::kKind && OnUnable(member, job, error)) return;
  if (job.choices_left > 1) member.link->Send().mutable_cancel()->set_request(job.wire_id());
  FailJob(job, error);
}

// The engine could not do it, through no fault of the job's: another may.
void FleetImpl::OnFault(Member& member, LiveJob& job, const Error& error) {
  if (job.choices_left > 1) member.link->Send().mutable_cancel()->set_request(job.wire_id());
  job.avoid = member.key;
  Error why = Reworded(error, fmt::format("engine {}: {}", member.name(), error.message));
  if (why.code == Code::kUnavailable && why.reason == Reason::kNone) why.reason = Reason::kEngineGone;
  Requeue(job, why);
  Trouble(member, Health::kFault, error.message);
  Wake();
}

// The engine is no worse for it; whether another can, it will say. False: there is none, or it is too late.
bool FleetImpl::OnUnable(Member& member, LiveJob& job, const Error& error) {
  if (job.emitted_there || (job.emitted && !job.can_resume)) return false;
  job.unable.push_back(member.key);
  const bool others = std::ranges::any_of(members_, [&](const auto& other) {
    return std::ranges::any_of(served_, [&](const auto& served) {
      if (!job.MayRunAs(served.first)) return false;
      const auto model = SeatFor(*other, served.first, job, false).model;
      return model == Seat::Model::kReady || model == Seat::Model::kLoading;
    });
  });
  if ((!others && !job.emitted) || job.moves >= LiveJob::kMostMoves) return false;
  if (job.choices_left > 1) member.link->Send().mutable_cancel()->set_request(job.wire_id());
  Leave(job);
  ++job.moves;
  WaitAgain(job);
  const auto sink = job.sink;
  sink->OnEvent(JobEvent::kRequeued, fmt::format("engine {}: {}", member.name(), error.message));
  return true;
}

std::vector<JobId> FleetImpl::JobsOf(const Member& member) const {
  std::vector<JobId> there;
  for (const auto& [id, job] : jobs_) {
    if (job->engine == &member) there.push_back(id);
  }
  std::ranges::sort(there);
  return there;
}

void FleetImpl::RequeueAll(Member& member, const Error& why) {
  std::vector<JobId> there = JobsOf(member);
  // The latest first, so that the earliest ends up at the head of its team's line.
  std::ranges::reverse(there);
  for (const JobId id : there) {
    if (LiveJob* job = Find(id)) Requeue(*job, why);
  }
}

// What to do with a job whose engine is gone, or failed it. Where it cannot go on, it fails with the code and
// the reason of `why`.
void FleetImpl::Requeue(LiveJob& job, const Error& why) {
  if (!job.sink) return Erase(job);
  job.ForgetStates();  // half of them, or of an engine that cannot be believed
  if (job.emitted && !job.can_resume) {
    return FailJob(job, Reworded(why, fmt::format("the answer broke off, {}; what came until then is billed, "
                                                  "send the request again for a whole answer",
                                                  why.message)));
  }
  if (job.requeues >= options_.max_requeues) {
    return FailJob(job, Reworded(why, fmt::format("{} engines failed while they worked on this request (the "
                                                  "last: {}); it is not tried again",
                                                  job.requeues + 1, why.message)));
  }
  ++job.requeues;
  ++stats_.requeued;
  Leave(job);
  if (job.emitted) ++stats_.resumed;
  WaitAgain(job);
  const auto sink = job.sink;
  sink->OnEvent(
      JobEvent::kRequeued,
      job.emitted ? fmt::format("{}; it goes on after {} tokens", why.message, job.told()) : why.message);
}

// At the head of its team's line, for it has waited before.
void FleetImpl::WaitAgain(LiveJob& job) {
  const Nanos now = job.queued_at = clock_.Monotonic();
  queue_.PushFront(job.team, job.id);
  // Somebody reads: better an error than a long silence.
  if (job.emitted) job.deadline = now + options_.resume_within;
  if (job.deadline > 0) {
    job.deadline = std::max(job.deadline, now + options_.resume_within);
    deadlines_.emplace(job.deadline, job.id);
  }
}

void FleetImpl::FinishChoice(LiveJob& job) {
  --job.choices_left;
  --job.engine->sequences;
  if (job.choices_left > 0) return;
  ++stats_.finished;
  const double tokens = static_cast<double>(job.told()) / job.submit.choices();
  double& usual = outputs_.try_emplace(job.submit.model(), kFirstOutput).first->second;
  usual += (tokens - usual) / 32;
  Erase(job);
}

// The job's engine holds nothing of it any more.
void FleetImpl::Leave(LiveJob& job) {
  Member& member = *std::exchange(job.engine, nullptr);
  --member.jobs;
  member.sequences -= job.choices_left;
  member.prefill = member.jobs == 0 ? 0 : member.prefill - job.prefill_left;
  member.context = member.jobs == 0 ? 0 : member.context - job.context;
  if (!job.admitted) member.promised_pages -= job.pages();
  if (member.moving == job.id) member.moving = 0;
  if (std::exchange(job.outgrown, 0) > 0) outgrown_.erase(job.id);
  GiveUpSeat(job);
}

// Ends a job for good, wherever it was. REQUIRES: no reference to it is used afterwards.
void FleetImpl::Erase(LiveJob& job) {
  if (job.engine != nullptr) {
    Leave(job);
    queue_.Done(job.id);
    if (job.chip_time > 0) estimate_ += (job.chip_time - estimate_) / 16;  // the mean of about the last 16
  } else {
    queue_.Remove(job.team, job.id);
    if (job.deadline > 0) deadlines_.erase({job.deadline, job.id});
  }
  if (job.sink) --live_;
  jobs_.erase(job.id);
  CheckDrained();
}

void FleetImpl::Cancel(JobId id) {
  LiveJob* job = Find(id);
  if (job == nullptr || !job->sink) return;
  ++stats_.cancelled;
  if (job->engine == nullptr) return Erase(*job);
  job->sink = nullptr;
  --live_;
  job->engine->link->Send().mutable_cancel()->set_request(job->wire_id());
  cancelled_.emplace_back(clock_.Monotonic(), id);
  CheckDrained();
}

void FleetImpl::Grant(JobId id, uint32_t choice, uint32_t tokens) {
  LiveJob* job = Find(id);
  if (job == nullptr || tokens == 0) return;
  const uint64_t before = job->Allowed(job->choices[0]);
  if (choice < job->choices.size()) job->choices[choice].granted += tokens;
  if (job->engine == nullptr) return;  // whoever goes on with it is told the sum
  if (job->cap > 0) tokens = static_cast<uint32_t>(job->Allowed(job->choices[0]) - before);
  if (tokens == 0) return;
  auto& credit = *job->engine->link->Send().mutable_credit();
  credit.set_request(job->wire_id());
  credit.set_choice(choice);
  credit.set_tokens(tokens);
}

void FleetImpl::Limit(JobId id, uint64_t tokens) {
  LiveJob* job = Find(id);
  if (job == nullptr || tokens == 0) return;
  const uint64_t before = job->submit.limit();
  if (before > 0 && before <= tokens) return;
  job->submit.set_limit(tokens);
  if (job->engine == nullptr) return;  // the engine that gets it is told with it
  auto& limit = *job->engine->link->Send().mutable_limit();
  limit.set_request(job->wire_id());
  limit.set_tokens(tokens);
}

void FleetImpl::FailJob(LiveJob& job, Error error) {
  ++stats_.failed;
  const auto sink = job.sink;
  Erase(job);
  sink->OnFailed(error);
}

// Jobs that wait for a model that nobody serves any more, or that no engine could load.
void FleetImpl::FailHopeless() {
  std::vector<JobId> waiting;
  for (const auto& [id, job] : jobs_) {
    if (job->engine == nullptr) waiting.push_back(id);
  }
  for (const JobId id : waiting) {
    LiveJob* job = Find(id);
    if (job == nullptr) continue;
    const std::string& model = job->submit.model();
    const auto error = Offers(model) ? Hopeless(model) : Unserved(model);
    if (error) FailJob(*job, *error);
  }
}

void FleetImpl::CheckDeadlines(Nanos now) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    LiveJob& job = *Find(deadlines_.begin()->second);
    if (job.emitted && !job.any_room && PlaceJob(job).verdict == Verdict::kTooLong) {
      // The engine that had memory for it does not come back: it gets what the others have room for.
      deadlines_.erase(deadlines_.begin());
      job.any_room = true;
      job.deadline = now + options_.resume_within;
      deadlines_.emplace(job.deadline, job.id);
      Wake();
      continue;
    }
    ++stats_.timed_out;
    FailJob(job, TookTooLong(job, now));
  }
}

Error FleetImpl::TookTooLong(const LiveJob& job, Nanos now) const {
  const bool nobody = std::ranges::none_of(members_, [](const auto& member) { return member->connected(); });
  const Verdict verdict = PlaceJob(job).verdict;
  const bool busy = verdict <= Verdict::kNoSequence;
  return {busy ? Code::kOverloaded : Code::kUnavailable,
          fmt::format("{} {:.1f} s for model {}: {}; {} requests wait; try again later",
                      job.emitted ? "the answer broke off, and no engine went on with it within" : "waited",
                      static_cast<double>(now - job.queued_at) / kSecond, job.submit.model(),
                      nobody ? "no engine is connected" : VerdictText(verdict), queue_.waiting()),
          Reason::kQueueTimeout};
}

void FleetImpl::ForgetCancelled(Nanos now) {
  while (!cancelled_.empty() && now - cancelled_.front().first > kForgetCancelled) {
    if (LiveJob* job = Find(cancelled_.front().second)) Erase(*job);
    cancelled_.pop_front();
  }
}

}  // namespace penstock
