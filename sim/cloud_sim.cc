#include "sim/cloud_sim.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <utility>

#include "base/random.h"
#include "fleet/placement/placement.h"
#include "fleet/queue/fair_queue.h"
#include "runner/fake.h"
#include "sched/scheduler.h"

namespace penstock {
namespace {

constexpr int kMaxRequeues = 2;
constexpr uint64_t kMaxEvents = 50'000'000;
constexpr int64_t kCredits = 8;
constexpr Nanos kReadInterval = 50 * kMillisecond, kRestart = kSecond;

enum class Happening : uint64_t {
  kArrives = 1,
  kReleased,
  kEmits,
  kEnds,
  kDies,
  kReturns,
  kRequeued,
  kStepFails
};

struct SimJob {
  uint32_t team = 0;
  std::vector<Token> prompt;
  std::vector<Token> told = {};  // of the answer
  int64_t wanted = 1;
  bool slow = false;
  Nanos arrived = 0, chip_time = 0;
  size_t engine = 0;
  SequenceId sequence = 0;  // 0: not in an engine
  int requeues = 0, ends = 0;
};

struct SimEngine {
  std::unique_ptr<Runner> runner;
  std::unique_ptr<Scheduler> scheduler;
  LoadedModel model;
  std::map<SequenceId, QueuedJob> jobs;
  bool alive = false, stepping = false;
  uint64_t life = 0;  // an event of an earlier life means nothing
  uint64_t runners = 0;
};

class CloudSim {
 public:
  explicit CloudSim(const SimOptions& options)
      : options_(options), random_(options.seed), engines_(options.engines), report_{} {
    report_.teams.resize(options.teams.size());
    backlog_since_.resize(options.teams.size() * options.teams.size());
  }

  SimReport Run() {
    for (uint32_t team = 0; team < options_.teams.size(); ++team) {
      queue_.SetWeight(team, options_.teams[team].weight);
      Plan(team);
    }
    for (size_t engine = 0; engine < engines_.size(); ++engine) Return(engine);
    while (!events_.empty()) {
      Event event = events_.top();
      events_.pop();
      clock_.Advance(event.at - clock_.Monotonic());
      event.happen();
      Release();
      MeasureFairness();
      if (++report_.events == kMaxEvents) {
        Violation("it does not end");
        break;
      }
    }
    Judge();
    return std::move(report_);
  }

 private:
  struct Event {
    Nanos at = 0;
    uint64_t number = 0;  // of equal times, first made first
    std::function<void()> happen;
    bool operator<(const Event& other) const {
      return std::pair(at, number) > std::pair(other.at, other.number);
    }
  };

  void At(Nanos when, std::function<void()> happen) {
    events_.push({.at = when, .number = numbers_++, .happen = std::move(happen)});
  }
  void After(Nanos delay, std::function<void()> happen) { At(clock_.Monotonic() + delay, std::move(happen)); }
  Nanos Exponential(double per_second) {
    return static_cast<Nanos>(-std::log1p(-random_.NextUniform()) / per_second *
                              static_cast<double>(kSecond));
  }
  bool Chance(double probability) { return random_.NextUniform() < probability; }
  int32_t Around(int32_t mean) {
    return std::max(1, mean / 2 + static_cast<int32_t>(random_.Below(static_cast<uint64_t>(mean) + 1)));
  }
  void Log(Happening what, uint64_t whom) {
    report_.log_hash = Mix(report_.log_hash ^ static_cast<uint64_t>(what));
    report_.log_hash = Mix(report_.log_hash ^ whom);
    report_.log_hash = Mix(report_.log_hash ^ static_cast<uint64_t>(clock_.Monotonic()));
  }
  void Violation(std::string what) { report_.violations.push_back(std::move(what)); }

  // ---- teams ----

  void Plan(uint32_t team) {
    const SimTeamOptions& wish = options_.teams[team];
    Nanos at = 0;
    for (uint32_t i = 0; i < wish.requests; ++i) {
      if (wish.requests_per_second > 0) at += Exponential(wish.requests_per_second);
      SimJob job{.team = team,
                 .prompt = {},
                 .wanted = Around(wish.output),
                 .slow = Chance(options_.slow_readers),
                 .arrived = at};
      job.prompt.resize(static_cast<size_t>(Around(wish.prompt)));
      // Half of each team's prompts begin alike, as those of one application do.
      const uint64_t text = random_.Below(2) == 0 ? team : random_.Next();
      for (size_t j = 0; j < job.prompt.size(); ++j) job.prompt[j] = static_cast<Token>(Draw(text, j) % 1000);
      job.prompt.back() = static_cast<Token>(random_.Below(1000));
      const QueuedJob id = jobs_.size();
      jobs_.push_back(std::move(job));
      At(at, [this, id] { Arrive(id); });
      if (Chance(options_.cancelled)) At(at + Exponential(1), [this, id] { Cancel(id); });
    }
  }

  void Arrive(QueuedJob id) {
    Log(Happening::kArrives, id);
    ++report_.teams[jobs_[id].team].sent;
    queue_.Push(jobs_[id].team, id);
  }

  void Cancel(QueuedJob id) {
    SimJob& job = jobs_[id];
    if (job.ends > 0) return;
    if (job.sequence == 0) {
      queue_.Remove(job.team, id);
      return End(id, &SimTeam::cancelled);
    }
    cancelled_.push_back(id);  // at the next step: none is under way while commands are obeyed
    Wake(job.engine);
  }

  void Read(QueuedJob id, uint64_t life) {
    SimJob& job = jobs_[id];
    if (job.sequence == 0 || engines_[job.engine].life != life) return;
    engines_[job.engine].scheduler->Grant(job.sequence, 1);
    After(kReadInterval, [this, id, life] { Read(id, life); });
    Wake(job.engine);
  }

  void End(QueuedJob id, uint32_t SimTeam::* how) {
    SimJob& job = jobs_[id];
    Log(Happening::kEnds, id);
    ++(report_.teams[job.team].*how);
    ++job.ends;
    job.sequence = 0;
    largest_job_ = std::max(largest_job_, job.chip_time);
    queue_.Done(id);
  }

  // ---- the pool ----

  std::vector<Seat> Seats() const {
    std::vector<Seat> seats;
    for (const SimEngine& engine : engines_) {
      const auto token_time = static_cast<double>(options_.token_time);
      Seat seat{.max_sequences = static_cast<uint32_t>(options_.slots),
                .speed = {.step = static_cast<double>(options_.step_time),
                          .prefill = token_time,
                          .decode = token_time,
                          .context = 0}};
      if (engine.alive) {
        seat.model = Seat::Model::kReady;
        seat.sequences = static_cast<uint32_t>(engine.jobs.size());
        seat.free_pages = engine.scheduler->Stats().free_pages;
        for (const auto& [sequence, id] : engine.jobs) {
          seat.context += static_cast<double>(jobs_[id].prompt.size() + jobs_[id].told.size());
        }
      }
      seats.push_back(seat);
    }
    return seats;
  }

  std::optional<size_t> PlaceOf(QueuedJob id) const {
    const SimJob& job = jobs_[id];
    const auto pages = static_cast<uint32_t>(PagesFor(static_cast<int32_t>(job.prompt.size())));
    return Place(Seats(), {.sequences = 1,
                           .pages = pages,
                           .prompt = static_cast<double>(job.prompt.size()),
                           .output = static_cast<double>(options_.teams[job.team].output)})
        .seat;
  }

  void Release() {
    while (const auto id =
               queue_.Pop([this](QueuedJob job) { return PlaceOf(job).has_value(); }, Estimate())) {
      SeatAt(*id, *PlaceOf(*id));
    }
  }

  Nanos Estimate() const { return options_.step_time; }

  void SeatAt(QueuedJob id, size_t where) {
    SimJob& job = jobs_[id];
    SimEngine& engine = engines_[where];
    std::vector<Token> known = job.prompt;
    known.insert(known.end(), job.told.begin(), job.told.end());
    const auto sequence =
        engine.scheduler->Add({.model = engine.model.id,
                               .prompt = std::move(known),
                               .generated = static_cast<int32_t>(job.told.size()),
                               .max_tokens = job.wanted - static_cast<int64_t>(job.told.size()),
                               .sampling = {},
                               .prefix_scope = fmt::format("team {}", job.team),
                               .credits = job.slow ? kCredits : -1});
    if (!sequence) return End(id, &SimTeam::failed);
    Log(Happening::kReleased, id);
    SimTeam& team = report_.teams[job.team];
    const Nanos waited = clock_.Monotonic() - job.arrived;
    team.waited += waited;
    team.longest_wait = std::max(team.longest_wait, waited);
    job.engine = where;
    job.sequence = *sequence;
    engine.jobs[*sequence] = id;
    if (job.slow) After(kReadInterval, [this, id, life = engine.life] { Read(id, life); });
    Wake(where);
  }

  // ---- an engine ----

  void Return(size_t where) {
    SimEngine& engine = engines_[where];
    Log(Happening::kReturns, where);
    engine.runner = MakeFakeRunner({.step_time = options_.step_time,
                                    .token_time = options_.token_time,
                                    .seed = Draw(options_.seed, 1000 * where + engine.runners++),
                                    .fail = options_.failed_steps});
    engine.scheduler =
        std::make_unique<Scheduler>(SchedulerOptions{.max_sequences = options_.slots, .step_tokens = 128});
    engine.model = *engine.runner->Load({.path = fmt::format("fake:m?pages={}", options_.pages)});
    engine.scheduler->AddModel(engine.model);
    engine.alive = true;
    ++engine.life;
    if (options_.deaths_per_second > 0) {
      After(Exponential(options_.deaths_per_second), [this, where] { Die(where); });
    }
  }

  void Die(size_t where) {
    if (Ended()) return;  // nothing left to die for
    SimEngine& engine = engines_[where];
    Log(Happening::kDies, where);
    ++report_.deaths;
    report_.preemptions += engine.scheduler->Stats().preemptions;
    engine.alive = engine.stepping = false;
    ++engine.life;
    for (const auto& [sequence, id] : std::exchange(engine.jobs, {})) Orphan(id);
    After(kRestart, [this, where] { Return(where); });
  }

  // Its engine died: it goes on elsewhere from where it was.
  void Orphan(QueuedJob id) {
    SimJob& job = jobs_[id];
    job.sequence = 0;
    if (job.requeues++ == kMaxRequeues) return End(id, &SimTeam::failed);
    Log(Happening::kRequeued, id);
    ++report_.requeued;
    queue_.PushFront(job.team, id);
  }

  void Wake(size_t where) {
    SimEngine& engine = engines_[where];
    if (!engine.alive || engine.stepping) return;
    engine.stepping = true;
    After(0, [this, where, life = engine.life] {
      if (engines_[where].life == life) Step(where);
    });
  }

  void ObeyCancels(size_t where) {
    SimEngine& engine = engines_[where];
    for (QueuedJob id : std::exchange(cancelled_, {})) {
      SimJob& job = jobs_[id];
      if (job.ends > 0) continue;
      if (job.sequence == 0) {  // its engine died first: it waits again
        queue_.Remove(job.team, id);
        End(id, &SimTeam::cancelled);
      } else if (job.engine == where) {
        engine.scheduler->Finish(job.sequence);
        engine.jobs.erase(job.sequence);
        End(id, &SimTeam::cancelled);
      } else {
        cancelled_.push_back(id);
      }
    }
  }

  void Step(size_t where) {
    SimEngine& engine = engines_[where];
    ObeyCancels(where);
    auto plan = engine.scheduler->Next();
    engine.scheduler->CheckIntegrity();
    engine.scheduler->TakeTurns();
    if (!plan) {
      engine.stepping = false;
      return;
    }
    ++report_.steps;
    Result<StepResult> result;
    engine.runner->Submit(*std::move(plan), [&](Result<StepResult> done) { result = std::move(done); });
    const Nanos took = result ? result->chip_time : options_.step_time;
    After(took, [this, where, life = engine.life, result = std::move(result)] {
      if (engines_[where].life == life) StepEnds(where, result);
    });
  }

  void StepEnds(size_t where, const Result<StepResult>& result) {
    SimEngine& engine = engines_[where];
    if (!result) {
      FailStep(where);
    } else if (const Status committed = engine.scheduler->Commit(*result); !committed) {
      Violation(committed.error().message);
    } else {
      Charge(engine, result->chip_time);
      for (const Sampled& sampled : result->sampled) Emit(engine, sampled);
    }
    engine.scheduler->CheckIntegrity();
    engine.stepping = false;
    Wake(where);
  }

  void FailStep(size_t where) {
    SimEngine& engine = engines_[where];
    Log(Happening::kStepFails, where);
    engine.scheduler->Abort();
    for (const Scheduler::Work& work : engine.scheduler->work()) {
      engine.scheduler->Finish(work.id);
      End(engine.jobs.at(work.id), &SimTeam::failed);
      engine.jobs.erase(work.id);
    }
  }

  void Charge(const SimEngine& engine, Nanos chip_time) {
    int64_t total = 0, tokens = 0;
    Nanos given = 0;
    for (const Scheduler::Work& work : engine.scheduler->work()) total += work.tokens;
    for (const Scheduler::Work& work : engine.scheduler->work()) {
      tokens += work.tokens;
      const Nanos until = chip_time * tokens / total, part = until - std::exchange(given, until);
      SimJob& job = jobs_[engine.jobs.at(work.id)];
      job.chip_time += part;
      report_.teams[job.team].chip_time += part;
      queue_.Charge(engine.jobs.at(work.id), part);
    }
    chip_time_ += chip_time;
  }

  void Emit(SimEngine& engine, const Sampled& sampled) {
    const QueuedJob id = engine.jobs.at(sampled.sequence);
    SimJob& job = jobs_[id];
    Log(Happening::kEmits, id ^ (static_cast<uint64_t>(sampled.token) << 32));
    ++report_.teams[job.team].tokens;
    job.told.push_back(sampled.token);
    if (static_cast<int64_t>(job.told.size()) < job.wanted) return;
    engine.scheduler->Finish(sampled.sequence);
    engine.jobs.erase(sampled.sequence);
    End(id, &SimTeam::finished);
  }

  // ---- what must hold ----

  // For each pair of teams: how far apart they have drifted since both began to have something waiting.
  void MeasureFairness() {
    const auto view = queue_.View();
    for (const auto& a : view) {
      for (const auto& b : view) {
        if (a.team >= b.team) continue;
        auto& since = backlog_since_[a.team * options_.teams.size() + b.team];
        const double lead = static_cast<double>(a.received) / options_.teams[a.team].weight -
                            static_cast<double>(b.received) / options_.teams[b.team].weight;
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

  bool Ended() const {
    return std::ranges::all_of(jobs_, [](const SimJob& job) { return job.ends > 0; });
  }

  void Judge() {
    report_.ended_at = clock_.Monotonic();
    for (size_t id = 0; id < jobs_.size(); ++id) {
      if (jobs_[id].ends != 1) Violation(fmt::format("request {} ended {} times", id, jobs_[id].ends));
    }
    Nanos charged = 0, received = 0;
    for (const SimTeam& team : report_.teams) charged += team.chip_time;
    for (const auto& team : queue_.View()) {
      received += static_cast<Nanos>(team.received);
      if (team.waiting + team.running > 0) Violation(fmt::format("team {} is left in the queue", team.team));
    }
    if (charged != chip_time_ || received != chip_time_) {
      Violation(fmt::format("chip time: engines measured {}, teams got {}, the queue charged {}", chip_time_,
                            charged, received));
    }
    for (const SimEngine& engine : engines_) {
      report_.preemptions += engine.alive ? engine.scheduler->Stats().preemptions : 0;
      if (engine.alive && engine.scheduler->Stats().free_pages != static_cast<uint32_t>(options_.pages))
        Violation("pages are lost");
    }
    report_.unfairness_bound = 2 * largest_job_ * options_.slots * static_cast<Nanos>(options_.engines);
    double least = 1;
    for (const SimTeamOptions& team : options_.teams) least = std::min(least, team.weight);
    report_.unfairness_bound = static_cast<Nanos>(static_cast<double>(report_.unfairness_bound) / least);
    if (report_.unfairness > report_.unfairness_bound)
      Violation("two waiting teams drifted apart by more than virtual counters allow");
  }

  const SimOptions& options_;
  Random random_;
  ManualClock clock_;
  FairQueue queue_;
  std::vector<SimJob> jobs_;
  std::vector<SimEngine> engines_;
  std::vector<QueuedJob> cancelled_;  // told to engines that are in a step
  std::priority_queue<Event> events_;
  uint64_t numbers_ = 0;
  Nanos chip_time_ = 0, largest_job_ = 0;
  std::vector<std::optional<std::pair<double, double>>> backlog_since_;  // [team][team]: least and most lead
  SimReport report_;
};

}  // namespace

SimReport SimulateCloud(const SimOptions& options) {
  return CloudSim(options).Run();
}

}  // namespace penstock
