#include "fleet/fleet.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/unordered/unordered_flat_map.hpp>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>

#include "base/check.h"
#include "engine/frame.h"
#include "fleet/affinity.h"
#include "fleet/fair_queue.h"
#include "fleet/listener.h"
#include "fleet/live_job.h"
#include "fleet/member.h"
#include "fleet/prover.h"

namespace penstock {
namespace {

namespace asio = boost::asio;

constexpr uint32_t kProtocol = 1;
constexpr Nanos kForgetCancelled = 5 * kSecond;      // an engine that never says that a job ended
constexpr Nanos kLongestStep = 3600 * kSecond;       // a charge above it is a peer's mistake
constexpr Nanos kFirstEstimate = 10 * kMillisecond;  // chip time of a job, before any was measured
constexpr double kFirstOutput = 64;                  // tokens of an answer, before any was counted
constexpr double kHang = 30;                         // a step that takes so many times what it should
constexpr double kLargestStep = 2048;                // tokens of a step, as far as hanging goes

using Live = LiveJob;

class FleetImpl final : public penstock::Fleet {
 public:
  FleetImpl(asio::io_context& io, const Clock& clock, FleetOptions options)
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
  Result<JobId> Submit(Job job, std::shared_ptr<JobSink> sink) override;
  void Cancel(JobId id) override;
  void Grant(JobId id, uint32_t choice, uint32_t tokens) override;
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
    asio::post(io_, Guarded(std::move(function)));
  }
  template <class F>
  auto Guarded(F function) {
    return [alive = std::weak_ptr(alive_), function = std::move(function)](auto&&... arguments) {
      if (alive.lock()) function(std::forward<decltype(arguments)>(arguments)...);
    };
  }

  // ---- engines ----
  void Accept();
  void Welcome(EngineLink::Socket socket);
  void OnMessage(Member& member, const wire::FromEngine& message);
  void OnHello(Member& member, const wire::Hello& hello);
  void OnModel(Member& member, const wire::ModelState& state);
  void OnStep(Member& member, const wire::StepReport& step);
  void OnNote(Member& member, const wire::Note& note);
  void OnCharge(Member& member, const wire::Charge& charge);
  void OnTokens(Member& member, const wire::TokenEvent& event);
  void OnFault(Member& member, Live& job, const wire::TokenEvent& event);
  void LetGo(Member& member);
  Result<Member*> Named(std::string_view engine);
  void Lose(Member& member, std::string_view why);
  void OnHeartbeat(Member& member, const wire::Heartbeat& heartbeat);
  void Requeue(Live& job, std::string_view why);
  void RequeueAll(Member& member, const std::string& why);

  // ---- trust ----
  void Prove(Member& member, const std::string& model);
  void Proved(Member& member, const std::string& model);
  void OnVerdict(const Prover::Verdict& verdict);
  void Trouble(Member& member, double weight, std::string_view why);
  void Distrust(Member& member, std::string_view why);
  void CheckTrust(Nanos now);
  Member* Find(Prover::Engine key);
  void Load(Member& member, const ServedModel& model);
  void Unload(Member& member, const std::string& name);

  // ---- jobs ----
  void Wake();
  void Turn();
  void Dispatch();
  bool Fits(JobId id);
  void Send(JobId id);
  Live* Find(JobId id);
  Live* Find(const Member& member, uint64_t wire_id);
  void FinishChoice(Live& job);
  void Leave(Live& job);
  void Erase(Live& job);
  void FailJob(Live& job, Error error);
  std::optional<Error> Hopeless(std::string_view model) const;
  bool OnlyExternal(std::string_view model) const;
  Error Unserved(std::string_view model) const;
  Error TookTooLong(const Live& job, Nanos now) const;
  Placement PlaceJob(const Live& job) const;
  Seat SeatFor(const Member& member, const std::string& variant, const Live& job, bool others) const;
  bool Offers(std::string_view model) const;
  void FailHopeless();
  std::string WhyThere(const Live& job, const Member& member) const;
  void CheckDrained();

  // ---- time ----
  void ScheduleTick();
  void Tick();
  void CheckHeartbeats(Nanos now);
  void CheckDeadlines(Nanos now);
  void ForgetCancelled(Nanos now);

  asio::io_context& io_;
  const Clock& clock_;
  const FleetOptions options_;
  std::shared_ptr<char> alive_ = std::make_shared<char>();
  FleetStats stats_;

  std::string path_;
  asio::local::stream_protocol::acceptor acceptor_;
  std::vector<std::unique_ptr<Member>> members_;  // a job's `engine` points into it
  uint32_t last_key_ = 0;
  std::map<std::string, ServedModel, std::less<>> served_;
  Prover prover_;
  Affinity affinity_;
  std::map<std::string, double, std::less<>> outputs_;  // by model: tokens of an answer, mean of late
  std::set<std::string, std::less<>> set_aside_;        // engines by name, connected or not
  std::string log_level_;                               // empty: as each engine started

  FairQueue queue_;
  boost::unordered_flat_map<JobId, std::unique_ptr<Live>> jobs_;
  struct TeamFacts {
    std::string name;
    uint64_t tokens = 0;
  };
  std::unordered_map<TeamKey, TeamFacts> teams_;
  std::set<std::pair<Nanos, JobId>> deadlines_;    // of waiting jobs
  std::deque<std::pair<Nanos, JobId>> cancelled_;  // sent and cancelled: when
  std::vector<JobId> fresh_;                       // submitted since the last turn
  JobId last_id_ = 0;
  size_t live_ = 0;  // jobs with a sink
  Nanos estimate_ = kFirstEstimate;
  bool turn_posted_ = false;

  mutable std::vector<Seat> seats_;  // scratch of PlaceJob: one for each engine and variant
  struct Option {
    Member* member = nullptr;
    const std::string* variant = nullptr;
  };
  mutable std::vector<Option> options_of_;  // whose seat each is
  Placement placement_;                     // by the last Fits

  bool draining_ = false;
  std::function<void()> drained_;
  asio::steady_timer timer_;
  Nanos last_tick_;
};

// ---- engines ----

Status FleetImpl::Listen(const std::string& path) {
  PENSTOCK_ASSIGN(acceptor_, ListenUnix(io_, path));
  path_ = path;
  Accept();
  return {};
}

void FleetImpl::Accept() {
  acceptor_.async_accept(Guarded([this](boost::system::error_code error, EngineLink::Socket socket) {
    if (error == asio::error::operation_aborted) return;
    if (error) {
      spdlog::error("cannot accept an engine: {}", error.message());
    } else {
      Welcome(std::move(socket));
    }
    Accept();
  }));
}

void FleetImpl::Welcome(EngineLink::Socket socket) {
  Member& member = *members_.emplace_back(std::make_unique<Member>());
  member.key = ++last_key_;
  member.link = std::make_shared<EngineLink>(std::move(socket), stats_);
  member.heard = clock_.Monotonic();
  member.link->Start({
      .message = [this, &member](const wire::FromEngine& message) { OnMessage(member, message); },
      .closed = [this, &member](std::string_view why) { Lose(member, why); },
  });
}

void FleetImpl::OnMessage(Member& member, const wire::FromEngine& message) {
  member.heard = clock_.Monotonic();
  if (message.has_hello() == member.connected()) return Lose(member, "it does not keep to the protocol");
  switch (message.kind_case()) {
    case wire::FromEngine::kHello:
      OnHello(member, message.hello());
      break;
    case wire::FromEngine::kModel:
      OnModel(member, message.model());
      break;
    case wire::FromEngine::kStep:
      OnStep(member, message.step());
      break;
    case wire::FromEngine::kHeartbeat:
      OnHeartbeat(member, message.heartbeat());
      break;
    case wire::FromEngine::kLeaving:
      LetGo(member);
      break;
    case wire::FromEngine::KIND_NOT_SET:
      break;  // of a later version
  }
  if (queue_.waiting() > 0) Wake();
}

void FleetImpl::OnHello(Member& member, const wire::Hello& hello) {
  if (hello.protocol() != kProtocol || hello.engine().empty()) {
    return Lose(member, fmt::format("engine '{}' speaks protocol {}, this gateway {}", hello.engine(),
                                    hello.protocol(), kProtocol));
  }
  for (const auto& other : members_) {
    if (other->name() == hello.engine() && other->link) Lose(*other, "a new one of its name connected");
  }
  // What was learnt of it before is still true of the chip.
  for (const auto& other : members_) {
    if (other->name() != hello.engine()) continue;
    member.health = other->health;
    member.trouble = std::move(other->trouble);
    member.profiles = std::move(other->profiles);
  }
  std::erase_if(members_, [&](const auto& other) { return other->name() == hello.engine(); });
  member.hello = hello;
  member.health.Connected(clock_.Monotonic());
  member.set_aside = set_aside_.contains(hello.engine());
  for (const auto& state : hello.models()) member.models[state.name()] = state;
  member.link->Send().mutable_welcome()->set_protocol(kProtocol);
  if (!log_level_.empty()) member.link->Send().mutable_log()->set_level(log_level_);
  spdlog::info("engine {} connected: {} on {}, pid {}", hello.engine(), hello.runner(), hello.chip(),
               hello.pid());

  for (const auto& state : hello.models()) {
    if (!served_.contains(state.name())) Unload(member, state.name());
  }
  for (const auto& [name, model] : served_) {
    const wire::ModelState* has = member.Find(name);
    const bool same = has != nullptr && has->state() == wire::ModelState::READY && has->path() == model.path;
    if (same) {
      Prove(member, name);
    } else {
      Load(member, model);
    }
  }
}

void FleetImpl::OnHeartbeat(Member& member, const wire::Heartbeat& heartbeat) {
  member.load = heartbeat.load();
  const Nanos stepping = heartbeat.stepping_ms() * kMillisecond;
  if (stepping < options_.step_timeout) return;
  // What the largest step should take, by the slowest of its models.
  double expected = 0;
  for (const auto& [model, profile] : member.profiles) {
    expected =
        std::max(expected, profile.speed().Expect({.prefill = kLargestStep, .context = member.context}));
  }
  if (static_cast<double>(stepping) < kHang * expected) return;
  const std::string why = fmt::format("a step has hung for {} s", stepping / kSecond);
  Trouble(member, Health::kHang, why);
  Lose(member, why);
}

void FleetImpl::Load(Member& member, const ServedModel& model) {
  if (!member.Takes(model.name)) return;
  member.proved.erase(model.name);
  auto& message = *member.link->Send().mutable_load();
  message.set_name(model.name);
  message.set_path(model.path);
  message.set_kv_bytes(model.kv_bytes);
  message.set_context(model.context);
  wire::ModelState& state = member.models[model.name];
  state.Clear();
  state.set_name(model.name);
  state.set_path(model.path);
  state.set_state(wire::ModelState::LOADING);
}

void FleetImpl::Unload(Member& member, const std::string& name) {
  member.models.erase(name);
  member.link->Send().mutable_unload()->set_name(name);
}

void FleetImpl::OnModel(Member& member, const wire::ModelState& state) {
  if (state.state() == wire::ModelState::UNLOADED || !served_.contains(state.name())) {
    member.models.erase(state.name());
    return;
  }
  member.models[state.name()] = state;
  if (state.state() == wire::ModelState::READY) return Prove(member, state.name());
  member.proved.erase(state.name());
  if (state.state() != wire::ModelState::FAILED) return;
  spdlog::error("engine {} could not load {}: {}", member.name(), state.name(), state.error());
  FailHopeless();
}

void FleetImpl::OnStep(Member& member, const wire::StepReport& step) {
  if (step.has_load()) member.load = step.load();
  if (step.prefill() + step.decode() > 0 && !step.model().empty()) {
    const auto took = static_cast<Nanos>(std::min<uint64_t>(step.chip_ns(), kLongestStep));
    member.profiles[step.model()].Note({.prefill = static_cast<double>(step.prefill()),
                                        .decode = static_cast<double>(step.decode()),
                                        .context = static_cast<double>(step.context())},
                                       took);
  }
  // Charges before tokens: a job's last token is the last that its sink hears.
  for (const auto& note : step.notes()) OnNote(member, note);
  for (const auto& charge : step.charges()) OnCharge(member, charge);
  for (const auto& event : step.tokens()) OnTokens(member, event);
}

void FleetImpl::OnNote(Member& member, const wire::Note& note) {
  Live* job = Find(member, note.request());
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
      sink->OnEvent(JobEvent::kPaused, "its memory went to earlier requests; it will be recomputed");
      break;
    case wire::Note::STARVED:
      sink->OnEvent(JobEvent::kPaused, "the client reads more slowly than tokens come");
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
  Live* job = Find(member, charge.request());
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
  Live* job = Find(member, event.request());
  if (job == nullptr || job->Ended(event.choice())) return;
  if (event.finish() == wire::ERROR && event.fault() && job->sink && Offers(job->submit.model())) {
    return OnFault(member, *job, event);
  }
  const auto sink = job->sink;
  stats_.tokens += event.new_tokens();
  teams_[job->team].tokens += event.new_tokens();
  job->context += event.new_tokens();
  member.context += event.new_tokens();
  job->Hear(event);
  if (event.finish() == wire::STOP || event.finish() == wire::LENGTH)
    member.health.Success(clock_.Monotonic());
  if (event.finish() != wire::NONE) FinishChoice(*job);  // may erase the job
  if (sink) sink->OnTokens(event);
}

// The engine could not do it, through no fault of the job's: another may.
void FleetImpl::OnFault(Member& member, Live& job, const wire::TokenEvent& event) {
  const std::string why = fmt::format("engine {}: {}", member.name(), event.error());
  if (job.choices_left > 1) member.link->Send().mutable_cancel()->set_request(job.wire_id());
  job.avoid = member.key;
  Requeue(job, why);
  Trouble(member, Health::kFault, event.error());
  Wake();
}

// Nothing is sent to it after the drain: what is under way there, it still finishes.
void FleetImpl::LetGo(Member& member) {
  if (!std::exchange(member.leaving, true)) member.link->Send().mutable_drain();
}

Result<Member*> FleetImpl::Named(std::string_view engine) {
  for (const auto& member : members_) {
    if (member->name() == engine && !engine.empty()) return member.get();
  }
  std::string names;
  for (const auto& view : Engines()) names += (names.empty() ? "" : ", ") + view.name;
  return Fail(Code::kNotFound, "no engine '{}'; there {}", engine,
              names.empty() ? "is none" : "are: " + names);
}

Status FleetImpl::SetDraining(std::string_view engine, bool on) {
  PENSTOCK_ASSIGN(Member * member, Named(engine));
  if (std::exchange(member->set_aside, on) == on) return {};
  spdlog::info("engine {} {}", engine, on ? "is set aside: it gets no new requests" : "takes requests again");
  if (on) {
    set_aside_.emplace(engine);
  } else {
    set_aside_.erase(member->name());
    Wake();
  }
  return {};
}

Status FleetImpl::Restart(std::string_view engine) {
  PENSTOCK_ASSIGN(Member * member, Named(engine));
  if (!member->connected()) return Fail(Code::kUnavailable, "engine {} is not connected", engine);
  LetGo(*member);
  return {};
}

void FleetImpl::Lose(Member& member, std::string_view why) {
  const std::string name = member.name();
  if (member.leaving) {
    spdlog::info("engine {} has left", name);
  } else {
    spdlog::warn("engine {} is gone: {}", name.empty() ? "(unnamed)" : name, why);
  }
  member.link->Close();
  member.link = nullptr;
  member.models.clear();
  member.proved.clear();
  member.load.Clear();
  prover_.Forget(member.key);
  if (name.empty()) return;
  if (!member.leaving) ++stats_.engine_deaths;
  RequeueAll(member, fmt::format("engine {} is gone: {}", name, why));
  if (!std::exchange(member.leaving, false)) Trouble(member, Health::kDeath, why);
  Wake();
}

void FleetImpl::RequeueAll(Member& member, const std::string& why) {
  std::vector<JobId> there;
  for (const auto& [id, job] : jobs_) {
    if (job->engine == &member) there.push_back(id);
  }
  // The latest first, so that the earliest ends up at the head of its team's line.
  std::ranges::sort(there, std::greater());
  for (const JobId id : there) {
    if (Live* job = Find(id)) Requeue(*job, why);
  }
}

// What to do with a job whose engine is gone, or failed it.
void FleetImpl::Requeue(Live& job, std::string_view why) {
  if (!job.sink) return Erase(job);
  if (job.emitted && !job.can_resume) {
    return FailJob(job,
                   {Code::kUnavailable,
                    fmt::format("the answer broke off, {}; what came until then is billed, send the request "
                                "again for a whole answer",
                                why),
                    Reason::kEngineGone});
  }
  const Nanos now = clock_.Monotonic();
  if (job.requeues >= options_.max_requeues) {
    return FailJob(job, {Code::kUnavailable,
                         fmt::format("{} engines failed while they worked on this request (the last: {}); "
                                     "it is not tried again",
                                     job.requeues + 1, why),
                         Reason::kEngineGone});
  }
  ++job.requeues;
  ++stats_.requeued;
  Leave(job);
  job.queued_at = now;
  queue_.PushFront(job.team, job.id);
  if (job.emitted) {
    ++stats_.resumed;
    job.deadline = now + options_.resume_within;  // somebody reads: better an error than a long silence
  }
  if (job.deadline > 0) deadlines_.emplace(job.deadline, job.id);
  const auto sink = job.sink;
  sink->OnEvent(JobEvent::kRequeued, job.emitted
                                         ? fmt::format("{}; it goes on after {} tokens", why, job.told())
                                         : std::string(why));
}

// ---- trust ----

Member* FleetImpl::Find(Prover::Engine key) {
  const auto found = std::ranges::find(members_, key, [](const auto& member) { return member->key; });
  return found == members_.end() ? nullptr : found->get();
}

// A model is ready on an engine: it gets requests once its answers are known to be right.
void FleetImpl::Prove(Member& member, const std::string& model) {
  if (member.health.state() == Health::State::kQuarantined || member.leaving) return;
  if (!prover_.Needs(model)) return Proved(member, model);
  const Nanos now = clock_.Monotonic();
  for (wire::Submit& submit :
       prover_.Ask(member.key, member.hello.contract(), model, now, [this] { return ++last_id_; })) {
    submit.Swap(member.link->Send().mutable_submit());
    ++stats_.canaries;
  }
}

void FleetImpl::Proved(Member& member, const std::string& model) {
  member.proved[model] = clock_.Monotonic();
  member.health.Proved(clock_.Monotonic());
  Wake();
}

void FleetImpl::OnVerdict(const Prover::Verdict& verdict) {
  Member* member = Find(verdict.engine);
  if (member == nullptr || !member->connected()) return;
  if (verdict.status) return Proved(*member, verdict.model);
  const std::string why = fmt::format("model {}: {}", verdict.model, verdict.status.error().message);
  if (verdict.status.error().code == Code::kCorrupt) return Distrust(*member, why);
  // One that was proved is asked again after the period; another at once, until its troubles are too many.
  if (member->proved.contains(verdict.model)) member->proved[verdict.model] = clock_.Monotonic();
  Trouble(*member, Health::kFault, why);
}

void FleetImpl::Trouble(Member& member, double weight, std::string_view why) {
  const bool before = member.health.state() == Health::State::kQuarantined;
  member.trouble = why;
  member.health.Trouble(clock_.Monotonic(), weight, why);
  if (before || member.health.state() != Health::State::kQuarantined) return;
  ++stats_.quarantines;
  member.proved.clear();
  spdlog::warn("engine {} is in quarantine for {} s: {}", member.name(),
               (member.health.until() - clock_.Monotonic()) / kSecond, why);
}

// Its answers are wrong: what runs there cannot be believed either.
void FleetImpl::Distrust(Member& member, std::string_view why) {
  ++stats_.canaries_wrong;
  ++stats_.quarantines;
  member.trouble = why;
  member.proved.clear();
  member.health.Wrong(clock_.Monotonic(), why);
  spdlog::error("engine {} answers wrongly and gets no requests for {} s: {}", member.name(),
                (member.health.until() - clock_.Monotonic()) / kSecond, why);
  for (auto& [id, job] : jobs_) {
    if (job->engine != &member) continue;
    member.link->Send().mutable_cancel()->set_request(job->wire_id());
    // What it wrote may be wrong: nothing must be built on it.
    job->can_resume = false;
  }
  RequeueAll(member, fmt::format("engine {} was found to answer wrongly", member.name()));
  Wake();
}

void FleetImpl::CheckTrust(Nanos now) {
  for (const auto& verdict : prover_.Late(now)) OnVerdict(verdict);
  for (const auto& member : members_) {
    if (!member->connected()) continue;
    member->health.Tick(now);
    for (const auto& [model, state] : member->models) {
      if (state.state() != wire::ModelState::READY) continue;
      const auto proved = member->proved.find(model);
      const bool unproved = proved == member->proved.end();
      const bool due = !unproved && prover_.Needs(model) && now - proved->second >= options_.canary_period;
      if (unproved || due) Prove(*member, model);  // once; what is being asked is not asked again
    }
  }
}

void FleetImpl::SetCanaries(const std::string& model, std::vector<CanaryPrompt> prompts) {
  const auto served = served_.find(model);
  if (served == served_.end()) return;
  prover_.SetPrompts(model, served->second.path, std::move(prompts));
  for (const auto& member : members_) {
    const wire::ModelState* state = member->connected() ? member->Find(model) : nullptr;
    if (state == nullptr || state->state() != wire::ModelState::READY) continue;
    member->proved.erase(model);
    Prove(*member, model);
  }
}

// ---- models ----

void FleetImpl::Serve(ServedModel model) {
  const std::string name = model.name;
  const ServedModel& served = served_[name] = std::move(model);
  for (const auto& member : members_) {
    if (member->connected()) Load(*member, served);
  }
}

void FleetImpl::Withdraw(const std::string& name) {
  if (served_.erase(name) == 0) return;
  for (const auto& member : members_) {
    if (member->connected()) Unload(*member, name);
  }
  Post([this] { FailHopeless(); });
}

bool FleetImpl::Offers(std::string_view model) const {
  return std::ranges::any_of(served_, [&](const auto& served) { return Answers(served.first, model); });
}

bool FleetImpl::Ready(std::string_view model) const {
  return std::ranges::any_of(served_, [&](const auto& served) {
    return Answers(served.first, model) && std::ranges::any_of(members_, [&](const auto& member) {
             return member->health.trusted() && member->SeatFor(served.first).model == Seat::Model::kReady;
           });
  });
}

bool FleetImpl::AnyReady() const {
  return std::ranges::any_of(served_, [&](const auto& served) { return Ready(served.first); });
}

// No connected engine has the model or is about to, and one says why.
std::optional<Error> FleetImpl::Hopeless(std::string_view model) const {
  const wire::ModelState* failed = nullptr;
  for (const auto& member : members_) {
    if (!member->connected()) continue;
    for (const auto& [name, state] : member->models) {
      if (!Answers(name, model)) continue;
      if (state.state() != wire::ModelState::FAILED) return std::nullopt;
      failed = &state;
    }
  }
  if (failed == nullptr) return std::nullopt;
  return Error{Code::kUnavailable, fmt::format("model {} could not be loaded: {}", model, failed->error()),
               Reason::kModelFailedToLoad};
}

// Every connected engine that has the model is outside the organisation.
bool FleetImpl::OnlyExternal(std::string_view model) const {
  bool any = false;
  for (const auto& member : members_) {
    const bool has = member->connected() && std::ranges::any_of(member->models, [&](const auto& state) {
                       return Answers(state.first, model);
                     });
    if (has && !member->hello.external()) return false;
    any |= has;
  }
  return any;
}

Error FleetImpl::Unserved(std::string_view model) const {
  std::string names;
  for (const auto& [name, served] : served_) names += (names.empty() ? "" : ", ") + name;
  return {Code::kNotFound,
          names.empty() ? fmt::format("no model '{}': none is served yet", model)
                        : fmt::format("no model '{}'; served are: {}", model, names),
          Reason::kModelUnknown};
}

// ---- jobs ----

Result<JobId> FleetImpl::Submit(Job job, std::shared_ptr<JobSink> sink) {
  const auto refuse = [this](Error error) {
    ++stats_.refused;
    return std::unexpected(std::move(error));
  };
  if (draining_)
    return refuse(
        {Code::kUnavailable, "Penstock is being stopped; send the request again soon", Reason::kStopping});
  if (!Offers(job.submit.model())) return refuse(Unserved(job.submit.model()));
  if (auto error = Hopeless(job.submit.model())) return refuse(*std::move(error));
  if (!job.external_allowed && OnlyExternal(job.submit.model())) {
    return refuse(
        {Code::kForbidden,
         fmt::format("model {} is served outside the organisation only, and team {} does not send its "
                     "text there; an operator can allow it: penstock team set {} --external yes",
                     job.submit.model(), job.team_name, job.team_name),
         Reason::kExternalForbidden});
  }
  if (queue_.waiting() >= options_.max_waiting) {
    return refuse(
        {Code::kOverloaded,
         fmt::format("{} requests wait already, the most that may; try again soon", queue_.waiting()),
         Reason::kQueueFull});
  }
  if (job.submit.prompt_size() > 1'000'000 && job.submit.ByteSizeLong() > kMaxFrame / 2) {
    return refuse(
        {Code::kTooLarge, fmt::format("a prompt of {} tokens cannot be sent to an engine; shorten it",
                                      job.submit.prompt_size())});
  }
  auto live = std::make_unique<Live>();
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

void FleetImpl::Wake() {
  if (std::exchange(turn_posted_, true)) return;
  Post([this] {
    turn_posted_ = false;
    Turn();
  });
}

void FleetImpl::Turn() {
  for (const JobId id : std::exchange(fresh_, {})) {
    const Live* job = Find(id);
    if (job == nullptr || !job->sink) continue;
    const auto sink = job->sink;
    sink->OnEvent(JobEvent::kQueued, fmt::format("{} waited before it", job->ahead));
  }
  Dispatch();
}

void FleetImpl::Dispatch() {
  const auto has_room = [](const auto& member) { return member->HasRoom(); };
  while (queue_.waiting() > 0 && std::ranges::any_of(members_, has_room)) {
    const auto job = queue_.Pop([this](JobId id) { return Fits(id); }, estimate_);
    if (!job) return;
    Send(*job);
  }
}

// As placing sees an engine for this job. `others`: engines that have not failed it hold its model.
Seat FleetImpl::SeatFor(const Member& member, const std::string& variant, const Live& job,
                        bool others) const {
  Seat seat = member.SeatFor(variant);
  if (job.emitted && !member.hello.abilities().resume()) seat.model = Seat::Model::kAbsent;
  if (job.avoid == member.key && others) seat.model = Seat::Model::kAbsent;
  if (member.hello.external() && !job.external_allowed && seat.model != Seat::Model::kAbsent)
    seat.model = Seat::Model::kForbidden;
  return seat;
}

Placement FleetImpl::PlaceJob(const Live& job) const {
  options_of_.clear();
  for (const auto& [variant, served] : served_) {
    if (!job.MayRunAs(variant)) continue;
    for (const auto& member : members_) options_of_.push_back({member.get(), &variant});
  }
  const bool others = job.avoid != 0 && std::ranges::any_of(options_of_, [&](const Option& option) {
                        return option.member->key != job.avoid &&
                               option.member->SeatFor(*option.variant).model == Seat::Model::kReady;
                      });
  seats_.clear();
  for (const Option& option : options_of_) {
    seats_.push_back(SeatFor(*option.member, *option.variant, job, others));
  }
  affinity_.Each(job.prefix, [&](Affinity::EngineKey key, size_t tokens) {
    for (size_t i = 0; i < seats_.size(); ++i) {
      if (options_of_[i].member->key != key) continue;
      seats_[i].cached = std::max(seats_[i].cached, static_cast<double>(tokens));
    }
  });
  const auto usual = outputs_.find(job.submit.model());
  const auto told = static_cast<double>(job.told());
  const double most = std::max(job.submit.max_tokens() - told, 1.0);
  return Place(seats_, {.sequences = job.choices_left,
                        .pages = job.pages(),
                        .prompt = job.submit.prompt_size() + told,
                        .output = std::min(most, usual == outputs_.end() ? kFirstOutput : usual->second)});
}

bool FleetImpl::Fits(JobId id) {
  placement_ = PlaceJob(*Find(id));
  return placement_.seat.has_value();
}

// For people: why this engine.
std::string FleetImpl::WhyThere(const Live& job, const Member& member) const {
  std::string why = fmt::format("engine {}, beside {} others", member.name(), member.sequences);
  const auto seconds = [](double nanos) { return nanos / kSecond; };
  if (placement_.second) {
    fmt::format_to(std::back_inserter(why), "; {:.2f} s expected there, {:.2f} s on {}",
                   seconds(placement_.time), seconds(placement_.second_time),
                   options_of_[*placement_.second].member->name());
  }
  if (!job.emitted) return why;
  const bool exact = !job.contract.empty() && job.contract == member.hello.contract();
  fmt::format_to(
      std::back_inserter(why), "; it goes on after {} tokens{}", job.told(),
      exact ? ", to the bit as it would have" : " under another numeric contract: what follows may differ");
  return why;
}

// Where the last Fits, which was this job's, said.
void FleetImpl::Send(JobId id) {
  Live& job = *Find(id);
  const auto [chosen, variant] = options_of_[*placement_.seat];
  Member& member = *chosen;
  if (job.deadline > 0) deadlines_.erase({job.deadline, id});
  job.variant = *variant;
  const std::string why = WhyThere(job, member);
  job.engine = &member;
  job.admitted = false;
  if (!job.emitted) job.contract = member.hello.contract();
  const double known = job.submit.prompt_size() + static_cast<double>(job.told());
  job.prefill_left = std::max(known - seats_[*placement_.seat].cached, 1.0);
  job.context = known * job.choices_left;
  ++member.jobs;
  member.sequences += job.choices_left;
  member.promised_pages += job.pages();
  member.prefill += job.prefill_left;
  member.context += job.context;
  affinity_.Note(member.key, job.prefix);
  wire::Submit& submit = *member.link->Send().mutable_submit();
  job.Fill(submit);
  if (!member.hello.abilities().wants_text()) submit.clear_chat();
  ++stats_.sent;
  stats_.queue_wait_ns += static_cast<uint64_t>(clock_.Monotonic() - job.queued_at);
  const auto sink = job.sink;
  const wire::ModelState* state = member.Find(job.variant);
  sink->OnPlaced({.engine = member.name(),
                  .model = job.variant,
                  .path = served_.at(job.variant).path,
                  .contract = member.hello.contract(),
                  .kernel = state == nullptr ? std::string_view() : std::string_view(state->kernel()),
                  .exact_usage = member.hello.abilities().exact_usage()});
  sink->OnEvent(JobEvent::kSent, why);
}

Live* FleetImpl::Find(JobId id) {
  const auto found = jobs_.find(id);
  return found == jobs_.end() ? nullptr : found->second.get();
}

Live* FleetImpl::Find(const Member& member, uint64_t wire_id) {
  Live* job = Find(Live::IdOf(wire_id));
  return job != nullptr && job->engine == &member && job->wire_id() == wire_id ? job : nullptr;
}

void FleetImpl::FinishChoice(Live& job) {
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
void FleetImpl::Leave(Live& job) {
  Member& member = *std::exchange(job.engine, nullptr);
  --member.jobs;
  member.sequences -= job.choices_left;
  member.prefill = member.jobs == 0 ? 0 : member.prefill - job.prefill_left;
  member.context = member.jobs == 0 ? 0 : member.context - job.context;
  if (!job.admitted) member.promised_pages -= job.pages();
}

// Ends a job for good, wherever it was. REQUIRES: no reference to it is used afterwards.
void FleetImpl::Erase(Live& job) {
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
  Live* job = Find(id);
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
  Live* job = Find(id);
  if (job == nullptr || tokens == 0) return;
  if (choice < job->choices.size()) job->choices[choice].granted += tokens;
  if (job->engine == nullptr) return;  // whoever goes on with it is told the sum
  auto& credit = *job->engine->link->Send().mutable_credit();
  credit.set_request(job->wire_id());
  credit.set_choice(choice);
  credit.set_tokens(tokens);
}

void FleetImpl::FailJob(Live& job, Error error) {
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
    Live* job = Find(id);
    if (job == nullptr) continue;
    const std::string& model = job->submit.model();
    const auto error = Offers(model) ? Hopeless(model) : Unserved(model);
    if (error) FailJob(*job, *error);
  }
}

void FleetImpl::Drain(std::function<void()> drained) {
  draining_ = true;
  drained_ = std::move(drained);
  CheckDrained();
}

void FleetImpl::CheckDrained() {
  if (!draining_ || live_ > 0 || !drained_) return;
  Post(std::exchange(drained_, nullptr));
}

std::vector<EngineView> FleetImpl::Engines() const {
  std::vector<EngineView> views;
  for (const auto& member : members_) {
    if (!member->name().empty()) views.push_back(member->View());
  }
  std::ranges::sort(views, {}, &EngineView::name);
  return views;
}

std::vector<TeamQueueView> FleetImpl::Queue() const {
  std::vector<TeamQueueView> views;
  for (const auto& team : queue_.View()) {
    const auto found = teams_.find(team.team);
    const TeamFacts facts = found == teams_.end() ? TeamFacts() : found->second;
    views.push_back({team.team, facts.name, team.waiting, team.running, team.counter / kSecond, team.received,
                     facts.tokens});
  }
  return views;
}

void FleetImpl::SetLogLevel(std::string_view word) {
  log_level_ = word;
  for (const auto& member : members_) {
    if (member->connected()) member->link->Send().mutable_log()->set_level(log_level_);
  }
}

// ---- time ----

void FleetImpl::ScheduleTick() {
  timer_.expires_after(std::chrono::nanoseconds(options_.tick));
  timer_.async_wait(Guarded([this](const boost::system::error_code& error) {
    if (error) return;
    Tick();
    ScheduleTick();
  }));
}

void FleetImpl::Tick() {
  const Nanos now = clock_.Monotonic();
  CheckHeartbeats(now);
  CheckTrust(now);
  CheckDeadlines(now);
  ForgetCancelled(now);
  std::erase_if(members_, [](const auto& member) { return !member->link && member->name().empty(); });
  last_tick_ = now;
}

void FleetImpl::CheckHeartbeats(Nanos now) {
  // If this process itself was stopped, the engines' silence says nothing.
  const bool we_slept = now - last_tick_ > options_.engine_timeout / 2;
  for (const auto& member : members_) {
    if (!member->link) continue;
    if (we_slept) member->heard = now;
    const Nanos silence = now - member->heard;
    if (silence > options_.engine_timeout) Lose(*member, fmt::format("silent for {} s", silence / kSecond));
  }
}

void FleetImpl::CheckDeadlines(Nanos now) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    Live& job = *Find(deadlines_.begin()->second);
    ++stats_.timed_out;
    FailJob(job, TookTooLong(job, now));
  }
}

Error FleetImpl::TookTooLong(const Live& job, Nanos now) const {
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
    if (Live* job = Find(cancelled_.front().second)) Erase(*job);
    cancelled_.pop_front();
  }
}

}  // namespace

const FleetStats& Fleet::Stats() const {
  static const FleetStats none;
  return none;
}

std::unique_ptr<Fleet> MakeFleet(asio::io_context& io, const Clock& clock, FleetOptions options) {
  return std::make_unique<FleetImpl>(io, clock, options);
}

}  // namespace penstock
