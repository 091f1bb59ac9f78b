// A job from Submit to its end, and what its engine says about it.
#include <algorithm>

#include "base/check.h"
#include "engine/frame.h"
#include "engine/wire_error.h"
#include "fleet/pool/pool.h"

namespace penstock {
namespace {

constexpr Nanos kForgetCancelled = 5 * kSecond;  // an engine that never says that a job ended

}  // namespace

Status Pool::Counted(Status status) {
  if (!status) ++stats_.refused;
  return status;
}

Status Pool::CheckModel(std::string_view model, std::string_view team_name, bool external_allowed) const {
  if (draining_) return Fail(Reason::kStopping, "Penstock is being stopped; send the request again soon");
  if (!Offers(model)) return std::unexpected(Unserved(model));
  if (auto error = Hopeless(model)) return std::unexpected(*std::move(error));
  if (external_allowed || !OnlyExternal(model)) return {};
  return Fail(
      Reason::kExternalForbidden,
      "model {} is served outside the organisation only, and team {} does not send its text there; an "
      "operator can allow it: penstock team set {} --external yes",
      model, team_name, team_name);
}

Status Pool::CheckRoom(size_t jobs) const {
  if (queue_.waiting() + jobs <= options_.max_waiting) return {};
  return Fail(Reason::kQueueFull, "{} requests wait already, the most that may; try again soon",
              queue_.waiting());
}

Status Pool::CheckSize(const wire::Submit& submit) {
  if (submit.prompt_size() > 1'000'000 && submit.ByteSizeLong() > kMaxFrame / 2) {
    return Fail(Code::kTooLarge, "a prompt of {} tokens cannot be sent to an engine; shorten it",
                submit.prompt_size());
  }
  if (submit.choices() > LiveJob::kMostChoices) {
    return Fail(Code::kInvalid, "{} choices were asked for; the most is {}", submit.choices(),
                LiveJob::kMostChoices);
  }
  return {};
}

Status Pool::MayRun(std::string_view model, std::string_view team_name, bool external_allowed) {
  return Counted(CheckModel(model, team_name, external_allowed));
}

Status Pool::HasRoom(size_t jobs) {
  return Counted(CheckRoom(jobs));
}

Result<JobId> Pool::Submit(Job job, Nanos now) {
  now_ = now;
  PENSTOCK_CHECK(!job.owner.empty());
  PENSTOCK_TRY(MayRun(job.submit.model(), job.owner_name, job.external_allowed));
  PENSTOCK_TRY(HasRoom(1));
  PENSTOCK_TRY(Counted(CheckSize(job.submit)));
  const TeamKey team = job.owner.back();
  if (std::string& name = teams_[team].name; name != job.owner_name) name = std::move(job.owner_name);
  auto live = std::make_unique<LiveJob>();
  const JobId id = live->id = ++last_id_;
  live->Start(std::move(job));
  live->wait.since = now;
  live->wait.ahead = queue_.waiting();

  queue_.Push(team, id);
  if (live->wait.until > 0) deadlines_.emplace(live->wait.until, id);
  jobs_.emplace(id, std::move(live));
  fresh_.push_back(id);
  ++live_;
  ++stats_.submitted;
  AskForTurn();
  return id;
}

LiveJob* Pool::Find(JobId id) {
  const auto found = jobs_.find(id);
  return found == jobs_.end() ? nullptr : found->second.get();
}

LiveJob* Pool::FindAt(const Member& member, uint64_t wire_id) {
  LiveJob* job = Find(LiveJob::IdOf(wire_id));
  return job != nullptr && job->where.here.member() == &member && job->wire_id() == wire_id ? job : nullptr;
}

void Pool::TellEventOf(const LiveJob& job, JobEvent event, std::string why) {
  if (!job.cancelled) actions_.Add(TellEvent{job.id, event, std::move(why)});
}

void Pool::OnNote(Member& member, const wire::Note& note) {
  LiveJob* job = FindAt(member, note.request());
  if (job == nullptr) return;
  switch (note.kind()) {
    case wire::Note::ADMITTED:
      if (std::exchange(job->where.admitted, true)) break;
      job->where.here.PromptAdmitted();
      TellEventOf(*job, JobEvent::kAdmitted, "engine " + member.name());
      break;
    case wire::Note::PREEMPTED:
      TellEventOf(*job, JobEvent::kPaused,
                  "its memory was given to earlier requests; it goes on when there is room");
      break;
    case wire::Note::STARVED:
      TellEventOf(*job, JobEvent::kPaused,
                  job->where.outgrown > 0 ? "its engine has no memory for a longer text"
                                          : "the client reads more slowly than tokens come");
      break;
    case wire::Note::RESUMED:
      TellEventOf(*job, JobEvent::kResumed, "");
      break;
    default:
      break;  // of a later version
  }
}

void Pool::OnCharge(Member& member, const wire::Charge& charge) {
  const auto chip_time = static_cast<Nanos>(std::min<uint64_t>(charge.chip_ns(), kLongestStep));
  if (prover_.Owns(charge.request())) {
    stats_.canary_chip_ns += static_cast<uint64_t>(chip_time);
    return;
  }
  LiveJob* job = FindAt(member, charge.request());
  if (job == nullptr) return;
  job->where.here.PromptComputed(charge.computed());
  stats_.chip_ns += static_cast<uint64_t>(chip_time);
  stats_.computed += charge.computed();
  queue_.Charge(job->id, chip_time);
  job->answer.chip_time += chip_time;
  if (!job->cancelled) actions_.Add(TellCharge{job->id, chip_time, charge.computed()});
}

void Pool::OnTokens(Member& member, const wire::TokenEvent& event) {
  if (std::optional<Prover::Verdict> verdict; prover_.Hear(member.key, event, verdict)) {
    if (verdict) OnVerdict(*verdict);
    return;
  }
  LiveJob* const found = FindAt(member, event.request());
  if (found == nullptr) return;
  LiveJob& job = *found;
  if (event.choice() >= job.answer.choices.size() || job.answer.Ended(event.choice())) return;
  if (event.finish() == wire::ERROR && !job.cancelled) return OnError(member, job, ErrorOf(event));
  stats_.tokens += event.new_tokens();
  teams_[job.request.team()].tokens += event.new_tokens();
  job.where.emitted |= job.answer.Add(event);
  job.where.here.ContextGrew(event.new_tokens());
  const bool ended = event.finish() != wire::NONE;
  if (event.finish() == wire::STOP || event.finish() == wire::LENGTH) {
    member.health.Success(now_);
    member.Touch();
  }
  if (!ended && job.where.cap > 0 && event.emitted() >= job.where.cap && job.where.outgrown == 0) {
    job.where.outgrown = std::max<Nanos>(now_, 1);
    outgrown_.insert(job.id);
  }
  if (ended) job.where.here.SequenceEnded();
  const bool last = job.answer.choices_left == 0;
  if (!job.cancelled) actions_.Add(TellTokens{job.id, &event, last});
  if (last) Finished(job);
}

void Pool::Finished(LiveJob& job) {
  ++stats_.finished;
  const double tokens = static_cast<double>(job.answer.tokens()) / job.request.submit.choices();
  double& usual = outputs_.try_emplace(job.request.model(), kFirstOutput).first->second;
  usual += (tokens - usual) / 32;
  Erase(job);
}

// The job's engine holds nothing of it any more.
void Pool::Leave(LiveJob& job) {
  Member& member = *job.where.here.member();
  job.where.here.Release();
  job.where.reserved.Release();
  if (member.moving == job.id) member.moving = 0;
  if (std::exchange(job.where.outgrown, 0) > 0) outgrown_.erase(job.id);
}

// Ends a job for good, wherever it was. REQUIRES: no reference to it is used afterwards.
void Pool::Erase(LiveJob& job) {
  if (job.where.here.member() != nullptr) {
    Leave(job);
    queue_.Done(job.id);
    // The mean of about the last 16.
    if (job.answer.chip_time > 0) estimate_ += (job.answer.chip_time - estimate_) / 16;
  } else {
    queue_.Remove(job.request.team(), job.id);
    if (queue_.waiting() > 0) AskForTurn();  // the one behind it may fit
    if (job.wait.until > 0) deadlines_.erase({job.wait.until, job.id});
  }
  if (!job.cancelled) --live_;
  jobs_.erase(job.id);
  CheckDrained();
}

void Pool::FailJob(LiveJob& job, Error error) {
  ++stats_.failed;
  actions_.Add(TellFailed{job.id, std::move(error)});
  Erase(job);
}

void Pool::CancelAt(const Member& member, const LiveJob& job) {
  actions_.Send(member.key).mutable_cancel()->set_request(job.wire_id());
}

void Pool::Cancel(JobId id, Nanos now) {
  now_ = now;
  LiveJob* job = Find(id);
  if (job == nullptr || job->cancelled) return;
  ++stats_.cancelled;
  if (job->where.here.member() == nullptr) return Erase(*job);
  job->cancelled = true;
  --live_;
  CancelAt(*job->where.here.member(), *job);
  cancelled_.emplace_back(now, id);
  CheckDrained();
}

void Pool::ForgetCancelled() {
  while (!cancelled_.empty() && now_ - cancelled_.front().first > kForgetCancelled) {
    if (LiveJob* job = Find(cancelled_.front().second)) Erase(*job);
    cancelled_.pop_front();
  }
}

void Pool::Grant(JobId id, uint32_t choice, uint32_t tokens, Nanos now) {
  now_ = now;
  LiveJob* job = Find(id);
  if (job == nullptr || tokens == 0 || choice >= job->answer.choices.size()) return;
  Answer::Choice& granted = job->answer.choices[choice];
  const uint64_t before = job->Allowed(granted);
  granted.granted += tokens;
  const Member* const member = job->where.here.member();
  if (member == nullptr) return;  // the engine that goes on with it is told the sum
  if (job->where.cap > 0) tokens = static_cast<uint32_t>(job->Allowed(granted) - before);
  if (tokens == 0) return;
  auto& credit = *Send(*member).mutable_credit();
  credit.set_request(job->wire_id());
  credit.set_choice(choice);
  credit.set_tokens(tokens);
}

void Pool::Limit(JobId id, uint64_t tokens, Nanos now) {
  now_ = now;
  LiveJob* job = Find(id);
  if (job == nullptr || tokens == 0) return;
  const uint64_t before = job->request.submit.limit();
  if (before > 0 && before <= tokens) return;
  job->request.submit.set_limit(tokens);
  if (job->where.here.member() == nullptr) return;  // the engine that gets it is told with it
  auto& limit = *Send(*job->where.here.member()).mutable_limit();
  limit.set_request(job->wire_id());
  limit.set_tokens(tokens);
}

}  // namespace penstock
