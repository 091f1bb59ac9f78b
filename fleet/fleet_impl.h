// FleetImpl: the one Fleet. Its parts stand in a file each:
//
//   engines.cc   who connects, what they hold and say, how they leave
//   jobs.cc      a job from Submit to its end, and on to another engine
//   dispatch.cc  which waiting job goes where, now
//   moving.cc    jobs of an engine that was set aside, on to others with what was computed of them
//   trust.cc     which engines may be believed
//   fleet.cc     models, what others see of the pool, time
//
// Threads: the io thread alone.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/unordered/unordered_flat_map.hpp>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "fleet/fleet.h"
#include "fleet/live_job.h"
#include "fleet/member.h"
#include "fleet/placement/affinity.h"
#include "fleet/placement/placement.h"
#include "fleet/queue/fair_queue.h"
#include "fleet/registry/engine_link.h"
#include "fleet/registry/prover.h"

namespace penstock {

class FleetImpl final : public Fleet {
 public:
  FleetImpl(boost::asio::io_context& io, const Clock& clock, FleetOptions options)
      : io_(io),
        clock_(clock),
        options_(options),
        acceptor_(io),
        prover_({.file = options.truths}),
        timer_(io),
        last_tick_(clock.Monotonic()) {
    ScheduleTick();
  }
  ~FleetImpl() override {
    for (const auto& member : members_) {
      if (member->link) member->link->Close();
    }
    if (!path_.empty()) ::unlink(path_.c_str());
  }

  Status Listen(const std::string& path) override;
  void Serve(ServedModel model) override;
  void Withdraw(const std::string& name) override;
  void SetCanaries(const std::string& model, std::vector<CanaryPrompt> prompts) override;
  Status MayRun(std::string_view model, std::string_view team_name, bool external_allowed) override;
  Status HasRoom(size_t jobs) override;
  Result<JobId> Submit(Job job, std::shared_ptr<JobSink> sink) override;
  void Cancel(JobId id) override;
  void Grant(JobId id, uint32_t choice, uint32_t tokens) override;
  void Limit(JobId id, uint64_t tokens) override;
  bool Ready(std::string_view model) const override;
  bool AnyReady() const override;
  bool WantsText() const override {
    return std::ranges::any_of(members_, [](const auto& member) {
      return member->connected() && member->hello.abilities().wants_text();
    });
  }
  std::vector<EngineView> Engines() const override;
  Status SetDraining(std::string_view engine, bool on) override;
  Status Restart(std::string_view engine) override;
  std::vector<TeamQueueView> Queue() const override;
  size_t Waiting() const override { return queue_.waiting(); }
  size_t Running() const override { return live_ - queue_.waiting(); }
  const FleetStats& Stats() const override { return stats_; }
  void SetLogLevel(std::string_view word) override;
  void Drain(std::function<void()> drained) override;

 private:
  // Runs `function` from the loop, unless the fleet is gone by then.
  template <class F>
  void Post(F function) {
    boost::asio::post(io_, Guarded(std::move(function)));
  }
  template <class F>
  auto Guarded(F function) {
    return [alive = std::weak_ptr(alive_), function = std::move(function)](auto&&... arguments) {
      if (alive.lock()) function(std::forward<decltype(arguments)>(arguments)...);
    };
  }

  // ---- engines.cc ----
  void Accept();
  void Welcome(EngineLink::Socket socket);
  void OnMessage(Member& member, const wire::FromEngine& message);
  void OnHello(Member& member, const wire::Hello& hello);
  void OnHeartbeat(Member& member, const wire::Heartbeat& heartbeat);
  void OnModel(Member& member, const wire::ModelState& state);
  void OnStep(Member& member, const wire::StepReport& step);
  void Load(Member& member, const ServedModel& model);
  void Unload(Member& member, const std::string& name);
  void LetGo(Member& member);
  void Lose(Member& member, std::string_view why);
  void CheckHeartbeats(Nanos now);
  Result<Member*> Named(std::string_view engine);

  // ---- jobs.cc ----
  LiveJob* Find(JobId id);
  LiveJob* Find(const Member& member, uint64_t wire_id);
  void OnNote(Member& member, const wire::Note& note);
  void OnCharge(Member& member, const wire::Charge& charge);
  void OnTokens(Member& member, const wire::TokenEvent& event);
  void OnError(Member& member, LiveJob& job, const Error& error);
  void OnFault(Member& member, LiveJob& job, const Error& error);
  bool OnUnable(Member& member, LiveJob& job, const Error& error);
  std::vector<JobId> JobsOf(const Member& member) const;
  void Requeue(LiveJob& job, const Error& why);
  void WaitAgain(LiveJob& job);
  void RequeueAll(Member& member, const Error& why);
  void FinishChoice(LiveJob& job);
  void Leave(LiveJob& job);
  void Erase(LiveJob& job);
  void FailJob(LiveJob& job, Error error);
  void FailHopeless();
  void CheckDeadlines(Nanos now);
  Error TookTooLong(const LiveJob& job, Nanos now) const;
  void ForgetCancelled(Nanos now);

  // ---- dispatch.cc ----
  void Wake();
  void Turn();
  void Dispatch();
  bool Fits(JobId id);
  void Send(LiveJob& job);
  uint32_t SendStates(LiveJob& job, Member& member);
  Seat SeatFor(const Member& member, const std::string& variant, const LiveJob& job, bool others) const;
  Placement PlaceJob(const LiveJob& job, const Member* from = nullptr) const;
  std::string WhyThere(const LiveJob& job, const Member& member) const;

  // ---- moving.cc ----
  void MoveNext(Member& member);
  void Move(LiveJob& job, Member& next);
  void KeepSeat(LiveJob& job, Member& next);
  void GiveUpSeat(LiveJob& job);
  void OnState(Member& member, const wire::State& state);
  void OnReleased(Member& member, const wire::Released& released);
  static void TellWhy(const LiveJob& job);
  void GoOn(LiveJob& job);
  void CheckOutgrown(Nanos now);
  bool HandOn(LiveJob& job);
  void EndThere(LiveJob& job);

  // ---- trust.cc ----
  Member* Find(Prover::Engine key);
  void Prove(Member& member, const std::string& model);
  void Proved(Member& member, const std::string& model);
  void OnVerdict(const Prover::Verdict& verdict);
  void Trouble(Member& member, double weight, std::string_view why);
  void Distrust(Member& member, std::string_view why);
  void CheckTrust(Nanos now);

  // ---- fleet.cc ----
  bool Offers(std::string_view model) const;
  std::optional<Error> Hopeless(std::string_view model) const;
  bool OnlyExternal(std::string_view model) const;
  Error Unserved(std::string_view model) const;
  void CheckDrained();
  void ScheduleTick();
  void Tick();

  boost::asio::io_context& io_;
  const Clock& clock_;
  const FleetOptions options_;
  std::shared_ptr<char> alive_ = std::make_shared<char>();
  FleetStats stats_;

  std::string path_;
  boost::asio::local::stream_protocol::acceptor acceptor_;
  std::vector<std::unique_ptr<Member>> members_;  // a job's `engine` points into it
  uint32_t last_key_ = 0;
  std::map<std::string, ServedModel, std::less<>> served_;
  Prover prover_;
  Affinity affinity_;
  std::map<std::string, double, std::less<>> outputs_;  // by model: tokens of an answer, mean of late
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
  size_t live_ = 0;                     // jobs with a sink
  Nanos estimate_ = 10 * kMillisecond;  // chip time of a job, before any was measured
  bool turn_posted_ = false;

  mutable std::vector<Seat> seats_;  // scratch of PlaceJob: one for each engine and variant
  struct Option {
    Member* member = nullptr;
    const std::string* variant = nullptr;
  };
  mutable std::vector<Option> options_of_;  // whose seat each is
  Placement placement_;                     // of the job that is sent next

  bool draining_ = false;
  std::function<void()> drained_;
  boost::asio::steady_timer timer_;
  Nanos last_tick_;
};

}  // namespace penstock
