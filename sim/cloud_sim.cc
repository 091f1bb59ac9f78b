#include "sim/cloud_sim.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>

#include "base/random.h"
#include "fleet/pool/pool.h"
#include "sim/event_queue.h"
#include "sim/planner_engine.h"

namespace penstock {
namespace {

constexpr uint64_t kMaxEvents = 50'000'000;
constexpr uint32_t kCredits = 8;
constexpr Nanos kReadInterval = 50 * kMillisecond, kRestart = kSecond;

enum class Happening : uint64_t {
  kArrives = 1,
  kSent,
  kEmits,
  kEnds,
  kDies,
  kReturns,
  kRequeued,
  kStepFails
};

struct Request {
  uint32_t team = 0;
  std::vector<Token> prompt;
  uint32_t wanted = 1;
  bool slow = false;
  Nanos arrived = 0, chip_time = 0;
  JobId job = 0;  // 0: it has not arrived
  int ends = 0;
};

// An engine's place in the cloud, through its deaths.
struct Place {
  EngineKey key = 0;                      // of its present life
  std::unique_ptr<PlannerEngine> engine;  // null: dead
  bool woken = false;
  uint64_t lives = 0;
};

class CloudSim {
 public:
  explicit CloudSim(const SimOptions& options)
      : options_(options), random_(options.seed), pool_(Options(), 0), places_(options.engines), report_{} {
    report_.teams.resize(options.teams.size());
    backlog_since_.resize(options.teams.size() * options.teams.size());
  }

  SimReport Run() {
    pool_.Serve({.name = "m", .path = "fake:m"}, now_);
    for (uint32_t team = 0; team < options_.teams.size(); ++team) {
      pool_.SetWeight(team, options_.teams[team].weight);
      PlanRequests(team);
    }
    for (size_t place = 0; place < places_.size(); ++place) Return(place);
    while (!events_.empty()) {
      events_.Happen(now_);
      CarryOut();
      MeasureFairness();
      if (const Status holds = pool_.CheckIntegrity(); !holds) {
        Violation(holds.error().message);
        break;
      }
      if (++report_.events == kMaxEvents) {
        Violation("it does not end");
        break;
      }
    }
    Judge();
    return std::move(report_);
  }

 private:
  static PoolOptions Options() {
    PoolOptions options;
    options.max_waiting = SIZE_MAX;
    options.engine_timeout = INT64_MAX / 2;  // engines here die, they do not fall silent
    return options;
  }
  void After(Nanos delay, std::function<void()> happen) { events_.At(now_ + delay, std::move(happen)); }
  Nanos Exponential(double per_second) {
    return static_cast<Nanos>(-std::log1p(-random_.NextUniform()) / per_second *
                              static_cast<double>(kSecond));
  }
  bool Chance(double probability) { return random_.NextUniform() < probability; }
  uint32_t Around(int32_t mean) {
    return std::max(1U, static_cast<uint32_t>(mean) / 2 +
                            static_cast<uint32_t>(random_.Below(static_cast<uint64_t>(mean) + 1)));
  }
  void Log(Happening what, uint64_t whom) {
    report_.log_hash = Mix(report_.log_hash ^ static_cast<uint64_t>(what));
    report_.log_hash = Mix(report_.log_hash ^ whom);
    report_.log_hash = Mix(report_.log_hash ^ static_cast<uint64_t>(now_));
  }
  void Violation(std::string what) { report_.violations.push_back(std::move(what)); }

  // ---- teams ----

  void PlanRequests(uint32_t team) {
    const SimTeamOptions& wish = options_.teams[team];
    Nanos at = 0;
    for (uint32_t i = 0; i < wish.requests; ++i) {
      if (wish.requests_per_second > 0) at += Exponential(wish.requests_per_second);
      Request request{.team = team,
                      .prompt = {},
                      .wanted = Around(wish.output),
                      .slow = Chance(options_.slow_readers),
                      .arrived = at};
      request.prompt.resize(Around(wish.prompt));
      // Half of each team's prompts begin alike, as those of one application do.
      const uint64_t text = random_.Below(2) == 0 ? team : random_.Next();
      for (size_t j = 0; j < request.prompt.size(); ++j)
        request.prompt[j] = static_cast<Token>(Draw(text, j) % 1000);
      request.prompt.back() = static_cast<Token>(random_.Below(1000));
      const size_t index = requests_.size();
      requests_.push_back(std::move(request));
      events_.At(at, [this, index] { Arrive(index); });
      if (Chance(options_.cancelled)) events_.At(at + Exponential(1), [this, index] { Cancel(index); });
    }
  }

  void Arrive(size_t index) {
    Request& request = requests_[index];
    Log(Happening::kArrives, index);
    ++report_.teams[request.team].sent;
    Job job;
    job.submit.set_model("m");
    job.submit.mutable_prompt()->Add(request.prompt.begin(), request.prompt.end());
    job.submit.set_max_tokens(request.wanted);
    job.submit.set_prefix_scope(fmt::format("team {}", request.team));
    if (request.slow) job.submit.set_credits(kCredits);
    job.owner = {request.team};
    job.owner_name = job.submit.prefix_scope();
    const auto id = pool_.Submit(std::move(job), now_);
    if (!id) return End(request, &SimTeam::failed);
    request.job = *id;
    index_of_[*id] = index;
    if (request.slow) After(kReadInterval, [this, index] { Read(index); });
  }

  void Cancel(size_t index) {
    Request& request = requests_[index];
    if (request.ends > 0) return;
    if (request.job > 0) pool_.Cancel(request.job, now_);
    End(request, &SimTeam::cancelled);
  }

  void Read(size_t index) {
    const Request& request = requests_[index];
    if (request.ends > 0) return;
    pool_.Grant(request.job, 0, 1, now_);
    After(kReadInterval, [this, index] { Read(index); });
  }

  void End(Request& request, uint32_t SimTeam::* how) {
    Log(Happening::kEnds, request.job);
    ++(report_.teams[request.team].*how);
    ++request.ends;
    largest_job_ = std::max(largest_job_, request.chip_time);
  }

  // ---- the pool's actions ----

  void CarryOut() {
    while (auto action = pool_.Next()) std::visit([this](auto& what) { Do(what); }, *action);
  }
  void Do(const SendToEngine& send) {
    const auto place = std::ranges::find(places_, send.engine, &Place::key);
    if (place == places_.end() || !place->engine) return;
    place->engine->Hear(*send.message);
    Wake(static_cast<size_t>(place - places_.begin()));
  }
  void Do(const Disconnect&) {}
  // Null: it was cancelled.
  Request* Hearing(JobId job) {
    Request& request = requests_[index_of_.at(job)];
    if (request.ends > 1) Violation(fmt::format("job {} is told something after its end", job));
    return request.ends > 0 ? nullptr : &request;
  }
  void Do(const TellEvent& tell) {
    Request* request = Hearing(tell.job);
    if (request == nullptr) return;
    if (tell.event == JobEvent::kRequeued) {
      Log(Happening::kRequeued, tell.job);
      ++report_.requeued;
    }
    if (tell.event != JobEvent::kSent) return;
    Log(Happening::kSent, tell.job);
    SimTeam& team = report_.teams[request->team];
    const Nanos waited = now_ - request->arrived;
    team.waited += waited;
    team.longest_wait = std::max(team.longest_wait, waited);
  }
  void Do(const TellPlaced&) {}
  void Do(const TellTokens& tell) {
    Request* request = Hearing(tell.job);
    if (request == nullptr) return;
    for (const int32_t id : tell.event->ids())
      Log(Happening::kEmits, tell.job ^ (static_cast<uint64_t>(id) << 32));
    report_.teams[request->team].tokens += tell.event->new_tokens();
    if (tell.last) End(*request, &SimTeam::finished);
  }
  void Do(const TellCharge& tell) {
    if (Request* request = Hearing(tell.job)) request->chip_time += tell.chip_time;
  }
  void Do(const TellFailed& tell) {
    if (Request* request = Hearing(tell.job)) End(*request, &SimTeam::failed);
  }
  void Do(const CallTurn&) {
    After(0, [this] { pool_.Turn(now_); });
  }
  void Do(const CallTick& call) {
    if (Over()) return;
    events_.At(call.at, [this] { pool_.Tick(now_); });
  }
  void Do(const Drained&) {}
  void Do(const KeepTruths&) {}
  void Do(const LogLine&) {}

  // ---- engines ----

  void Return(size_t where) {
    Place& place = places_[where];
    Log(Happening::kReturns, where);
    place.key = ++last_key_;
    place.woken = false;
    place.engine = std::make_unique<PlannerEngine>(
        PlannerEngine::Options{.name = fmt::format("engine{}", where),
                               .slots = options_.slots,
                               .pages = options_.pages,
                               .runner = {.step_time = options_.step_time,
                                          .token_time = options_.token_time,
                                          .seed = Draw(options_.seed, 1000 * where + place.lives++),
                                          .fail = options_.failed_steps}});
    pool_.Connected(place.key, now_);
    pool_.Heard(place.key, place.engine->Hello(), now_);
    CarryOut();
    if (options_.deaths_per_second > 0)
      After(Exponential(options_.deaths_per_second), [this, where] { Die(where); });
  }

  void Die(size_t where) {
    if (Over()) return;  // there is nothing left to die for
    Place& place = places_[where];
    Log(Happening::kDies, where);
    ++report_.deaths;
    report_.preemptions += place.engine->preemptions();
    chip_time_ += place.engine->chip_time();
    place.engine = nullptr;
    pool_.Gone(place.key, "its connection ended", now_);
    After(kRestart, [this, where] { Return(where); });
  }

  // `act`, if the engine still lives then.
  void Later(size_t where, Nanos delay, void (CloudSim::*act)(size_t)) {
    After(delay, [this, where, key = places_[where].key, act] {
      if (places_[where].key == key && places_[where].engine) (this->*act)(where);
    });
  }
  void Wake(size_t where) {
    Place& place = places_[where];
    if (place.engine->stepping() || std::exchange(place.woken, true)) return;
    Later(where, 0, &CloudSim::Begin);
  }
  void Begin(size_t where) {
    Place& place = places_[where];
    place.woken = false;
    if (const auto takes = place.engine->Begin()) {
      ++report_.steps;
      Later(where, *takes, &CloudSim::StepEnds);
    }
    Listen(where);
  }
  void StepEnds(size_t where) {
    PlannerEngine& engine = *places_[where].engine;
    if (const Status ended = engine.End(); !ended) Violation(ended.error().message);
    if (engine.last_step_failed()) Log(Happening::kStepFails, where);
    Listen(where);
    Wake(where);
  }
  void Listen(size_t where) {
    const Place& place = places_[where];
    for (const wire::FromEngine& message : place.engine->TakeMessages()) {
      pool_.Heard(place.key, message, now_);
      CarryOut();
    }
  }

  // ---- what must hold ----

  // For each pair of teams: how far apart they have drifted since both began to have something waiting.
  void MeasureFairness() {
    const auto view = pool_.Queue();
    for (const auto& a : view) {
      for (const auto& b : view) {
        if (a.team >= b.team) continue;
        auto& since = backlog_since_[a.team * options_.teams.size() + b.team];
        const double lead = static_cast<double>(a.chip_ns) / options_.teams[a.team].weight -
                            static_cast<double>(b.chip_ns) / options_.teams[b.team].weight;
        if (a.waiting == 0 || b.waiting == 0) {
          since.reset();
        } else if (!since) {
          since = {lead, lead};
        } else {
          since->first = std::min(since->first, lead);
          since->second = std::max(since->second, lead);
          report_.unfairness = std::max(report_.unfairness, static_cast<Nanos>(since->second - since->first));
        }
      }
    }
  }

  // All requests have ended, and no engine has anything of them.
  bool Over() const {
    if (ended_ < requests_.size()) {
      while (ended_ < requests_.size() && requests_[ended_].ends > 0) ++ended_;
      if (ended_ < requests_.size()) return false;
    }
    return std::ranges::all_of(pool_.Engines(), [](const EngineView& engine) { return engine.sent == 0; });
  }

  void Judge() {
    report_.ended_at = now_;
    for (size_t i = 0; i < requests_.size(); ++i) {
      if (requests_[i].ends != 1) Violation(fmt::format("request {} ended {} times", i, requests_[i].ends));
    }
    Nanos charged = 0;
    for (const TeamQueueView& team : pool_.Queue()) {
      report_.teams[team.team].chip_time = static_cast<Nanos>(team.chip_ns);
      charged += static_cast<Nanos>(team.chip_ns);
      if (team.waiting + team.running > 0) Violation(fmt::format("team {} is left in the queue", team.team));
    }
    for (const Place& place : places_) {
      if (!place.engine) continue;
      report_.preemptions += place.engine->preemptions();
      chip_time_ += place.engine->chip_time();
      if (place.engine->free_pages() != static_cast<uint32_t>(options_.pages)) Violation("pages are lost");
    }
    if (charged != chip_time_)
      Violation(
          fmt::format("engines measured {} ns of chip time, teams were charged {}", chip_time_, charged));
    report_.unfairness_bound = 2 * largest_job_ * options_.slots * static_cast<Nanos>(options_.engines);
    double least = 1;
    for (const SimTeamOptions& team : options_.teams) least = std::min(least, team.weight);
    report_.unfairness_bound = static_cast<Nanos>(static_cast<double>(report_.unfairness_bound) / least);
    if (report_.unfairness > report_.unfairness_bound)
      Violation("two waiting teams drifted apart by more than virtual counters allow");
  }

  const SimOptions& options_;
  Random random_;
  Nanos now_ = 0;
  EventQueue events_;
  Pool pool_;
  std::vector<Request> requests_;
  std::unordered_map<JobId, size_t> index_of_;
  mutable size_t ended_ = 0;  // of `requests_`, the first that are known to have ended
  std::vector<Place> places_;
  EngineKey last_key_ = 0;
  Nanos chip_time_ = 0, largest_job_ = 0;
  std::vector<std::optional<std::pair<double, double>>> backlog_since_;  // [team][team]: least and most lead
  SimReport report_;
};

}  // namespace

SimReport SimulateCloud(const SimOptions& options) {
  return CloudSim(options).Run();
}

}  // namespace penstock
