// Pool: which engines there are, which jobs wait, and which job goes where. A pure state machine: events go
// in, each with its time, and actions come out (fleet/pool/actions.h). It knows no sockets, timers or clocks,
// so the pool that serves requests is the one that sim/ and the random schedules (pool_schedules_test.cc)
// run.
//
//   engines.cc   who connects, what they hold and report, how they leave
//   models.cc    which models are served, and by whom
//   jobs.cc      a job from Submit to its end, and what its engine says about it
//   requeue.cc   a job that goes on elsewhere after a failure
//   dispatch.cc  which waiting job goes where, now
//   moving.cc    jobs that move to another engine with what was computed of them
//   canaries.cc  which engines answer rightly, and which are in quarantine
//   pool.cc      time, and what others see
//   integrity.cc that all totals are what the jobs add up to
//
// Threads:   one.
// Owns:      jobs, members and the queue. All actions must be taken (Next) before the next event that carries
// a
//            message, for they refer to it.
// Invariant: CheckIntegrity(), after every event.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "engine/wire.pb.h"
#include "fleet/placement/affinity.h"
#include "fleet/placement/placement.h"
#include "fleet/pool/actions.h"
#include "fleet/pool/job.h"
#include "fleet/pool/live_job.h"
#include "fleet/queue/fair_queue.h"
#include "fleet/registry/engine_view.h"
#include "fleet/registry/members.h"
#include "fleet/registry/prover.h"
#include "fleet/registry/served_model.h"
#include "fleet/registry/stats.h"

namespace penstock {

struct PoolOptions {
  size_t max_waiting = 4096;           // jobs in the queue, over all teams
  Nanos engine_timeout = 3 * kSecond;  // an engine that is silent for so long is taken as dead
  Nanos step_timeout = 10 * kSecond;   // a step that takes longer, and far longer than expected, hangs
  Nanos resume_within = 60 * kSecond;  // an answer that broke off waits so long for an engine to go on
  int max_requeues = 2;                // failures after which a job is not tried again; < 128
  Nanos canary_period = 60 * kSecond;
  Nanos tick = 50 * kMillisecond;  // how often deadlines and heartbeats are looked at
  PlacePolicy place = Place;
  // How many sequences of others an engine may pause to run this job, beyond those that it has room for.
  // Empty: none, a full engine gets nothing.
  std::function<uint32_t(const JobRequest& job, const Candidate& engine)> may_pause = {};
};

class Pool {
 public:
  // `truths`: the last that KeepTruths said; empty: no right answers to canaries are known.
  Pool(PoolOptions options, Nanos now, std::string_view truths = {});

  // ---- events ----

  // A connection, under a key that was never used; its first message must be Hello.
  void Connected(EngineKey engine, Nanos now);
  void Gone(EngineKey engine, std::string_view why, Nanos now);
  // Messages of engines that are gone are ignored.
  void Heard(EngineKey engine, const wire::FromEngine& message, Nanos now);

  // As in Fleet. Refusals are counted; nothing else changes.
  Status MayRun(std::string_view model, std::string_view team_name, bool external_allowed);
  Status HasRoom(size_t jobs);
  // Errors: as Fleet::Submit. REQUIRES: job.owner is not empty.
  Result<JobId> Submit(Job job, Nanos now);
  // Nothing is told about the job afterwards; what is in the queue of actions already is to be dropped.
  void Cancel(JobId job, Nanos now);
  // The client took `tokens` more of `choice`.
  void Grant(JobId job, uint32_t choice, uint32_t tokens, Nanos now);
  // As Fleet::Limit.
  void Limit(JobId job, uint64_t tokens, Nanos now);

  void Serve(ServedModel model, Nanos now);
  void Withdraw(const std::string& model, Nanos now);
  // `identity` tells the model's file from others (fleet/registry/truths.h). Ignored if it is not served.
  void SetCanaries(const std::string& model, const std::string& identity, std::vector<CanaryPrompt> prompts,
                   Nanos now);
  // Errors: kNotFound names the engines that there are; kUnavailable: it is not connected.
  Status SetDraining(std::string_view engine, bool on, Nanos now);
  Status Restart(std::string_view engine, Nanos now);
  void SetLogLevel(std::string_view word);
  void SetMaxWaiting(size_t jobs) { options_.max_waiting = jobs; }
  // > 0; 1 when never set.
  void SetWeight(TeamKey team, double weight) { queue_.SetWeight(team, weight); }
  // No new jobs from now on; Drained comes when none is left.
  void Drain(Nanos now);

  // When asked for by CallTurn and CallTick.
  void Turn(Nanos now);
  void Tick(Nanos now);

  // ---- actions ----

  std::optional<Action> Next() { return actions_.Next(); }

  // ---- what others see ----

  bool Ready(std::string_view model) const;
  bool AnyReady() const;
  bool WantsText() const;
  std::vector<EngineView> Engines() const;
  std::vector<TeamQueueView> Queue() const;
  size_t Waiting() const { return queue_.waiting(); }
  size_t Running() const { return live_ - queue_.waiting(); }
  const PoolStats& stats() const { return stats_; }
  const ServedModel* Served(std::string_view model) const;

  // kInternal names a total that is not what the jobs add up to, or a job that is nowhere. For tests and
  // simulations: it looks at everything.
  Status CheckIntegrity();

 private:
  void AskForTurn();
  template <class... Args>
  void Log(spdlog::level::level_enum level, fmt::format_string<Args...> format, Args&&... args) {
    actions_.Add(LogLine{level, fmt::format(format, std::forward<Args>(args)...)});
  }

  // ---- engines.cc ----
  wire::ToEngine& Send(const Member& member) { return actions_.Send(member.key); }
  void OnHello(Member& member, const wire::Hello& hello);
  void InheritFromFormer(Member& member);
  void OnHeartbeat(Member& member, const wire::Heartbeat& heartbeat);
  void OnStep(Member& member, const wire::StepReport& step);
  void LetLeave(Member& member);
  void Lose(Member& member, std::string_view why);
  void CheckHeartbeats();
  Result<Member*> Named(std::string_view engine);

  // ---- models.cc ----
  void LoadModel(Member& member, const ServedModel& model);
  void UnloadModel(Member& member, const std::string& name);
  void OnModel(Member& member, const wire::ModelState& state);
  bool Offers(std::string_view model) const;
  std::optional<Error> Hopeless(std::string_view model) const;
  bool OnlyExternal(std::string_view model) const;
  Error Unserved(std::string_view model) const;
  void FailHopeless();

  // ---- jobs.cc ----
  Status Counted(Status status);
  Status CheckModel(std::string_view model, std::string_view team_name, bool external_allowed) const;
  Status CheckRoom(size_t jobs) const;
  static Status CheckSize(const wire::Submit& submit);
  LiveJob* Find(JobId id);
  LiveJob* FindAt(const Member& member, uint64_t wire_id);
  void TellEventOf(const LiveJob& job, JobEvent event, std::string why);
  void OnNote(Member& member, const wire::Note& note);
  void OnCharge(Member& member, const wire::Charge& charge);
  void OnTokens(Member& member, const wire::TokenEvent& event);
  void Finished(LiveJob& job);
  void Leave(LiveJob& job);
  void Erase(LiveJob& job);
  void FailJob(LiveJob& job, Error error);
  void CancelAt(const Member& member, const LiveJob& job);
  void ForgetCancelled();

  // ---- requeue.cc ----
  void OnError(Member& member, LiveJob& job, const Error& error);
  void OnFault(Member& member, LiveJob& job, const Error& error);
  bool OnUnable(Member& member, LiveJob& job, const Error& error);
  std::vector<JobId> JobsOf(const Member& member) const;
  void Requeue(LiveJob& job, const Error& why);
  void RequeueAll(Member& member, const Error& why);
  void WaitAgain(LiveJob& job);
  void WaitUntil(LiveJob& job, Nanos until);
  void CheckDeadlines();
  Error TookTooLong(LiveJob& job);

  // ---- dispatch.cc ----
  void Dispatch();
  void SendJob(LiveJob& job, const Placement& placement);
  uint32_t SendTransfer(LiveJob& job, Member& member);
  Need NeedOf(const LiveJob& job) const;
  bool IsPlain(const LiveJob& job) const;
  void Adapt(Candidate& candidate, const LiveJob& job, bool others) const;
  std::vector<std::pair<EngineKey, size_t>> HoldersOf(const LiveJob& job) const;
  Placement PlaceJob(const LiveJob& job, const Member* from = nullptr);
  std::string WhyThere(const LiveJob& job, const Member& member, const Placement& placement) const;

  // ---- moving.cc ----
  void MoveNext(Member& member);
  void Move(LiveJob& job, Member& next);
  void OnState(Member& member, const wire::State& state);
  void OnReleased(Member& member, const wire::Released& released);
  void TellWhyItMoves(const LiveJob& job);
  void GoOn(LiveJob& job);
  void CheckOutgrown();
  bool HandOn(LiveJob& job);
  void EndThere(LiveJob& job);

  // ---- canaries.cc ----
  void Prove(Member& member, const std::string& model);
  void Proved(Member& member, const std::string& model);
  void OnVerdict(const Prover::Verdict& verdict);
  void NoteTrouble(Member& member, double weight, std::string_view why);
  void AnsweredWrongly(Member& member, std::string_view why);
  void CheckCanaries();

  // ---- pool.cc ----
  void CheckDrained();

  // ---- integrity.cc ----
  Status CheckTotals() const;
  Status CheckQueue() const;
  Status CheckMoves() const;

  PoolOptions options_;
  ActionQueue actions_;
  PoolStats stats_;
  Nanos now_;  // of the event
  Nanos last_tick_;
  bool turn_asked_ = false, check_hopeless_ = false;

  Members members_;
  std::map<std::string, ServedModel, std::less<>> served_;
  Prover prover_;
  Affinity affinity_;
  std::map<std::string, double, std::less<>> outputs_;  // by model: tokens of a choice, moving mean
  std::set<std::string, std::less<>> set_aside_;        // engines by name, connected or not
  std::string log_level_;                               // empty: as each engine started

  FairQueue queue_;
  boost::unordered_flat_map<JobId, std::unique_ptr<LiveJob>> jobs_;
  struct TeamFacts {
    std::string name;
    uint64_t tokens = 0;
  };
  std::unordered_map<TeamKey, TeamFacts> teams_;
  std::set<std::pair<Nanos, JobId>> deadlines_;    // of waiting jobs
  std::deque<std::pair<Nanos, JobId>> cancelled_;  // sent and cancelled: when
  std::set<JobId> outgrown_;                       // that stand at the end of their engine's memory
  std::vector<JobId> fresh_;                       // submitted since the last turn
  JobId last_id_ = 0;
  size_t live_ = 0;                     // jobs that are not cancelled
  Nanos estimate_ = 10 * kMillisecond;  // chip time of a job, moving mean

  std::vector<Candidate> candidates_;  // scratch of PlaceJob
  bool draining_ = false, drained_told_ = false;
};

}  // namespace penstock
