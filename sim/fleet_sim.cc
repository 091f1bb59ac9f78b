#include "sim/fleet_sim.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <functional>
#include <optional>
#include <queue>

#include "base/random.h"
#include "base/tokens.h"
#include "fleet/placement/placement.h"
#include "fleet/placement/profile.h"
#include "fleet/queue/fair_queue.h"

namespace penstock {
namespace {

constexpr double kChunk = 512;  // prompt tokens of a step
constexpr double kFirstOutput = 64;
constexpr Nanos kEstimate = 100 * kMillisecond;

struct Job {
  uint32_t emitted = 0;
  uint32_t engine = 0;
  double prefill_left = 0;
  uint64_t finish_step = 0;  // of its engine's steps
  Nanos first = 0, ended = 0;
  int requeues = 0;
  bool running = false;
};

struct SimEngine {
  const ChipKind* kind = nullptr;
  size_t kind_index = 0;
  Profile profile;
  bool alive = true, stepping = false;
  uint64_t life = 0, step = 0;
  std::deque<QueuedJob> prompts;  // to be computed, in order
  using Ending = std::pair<uint64_t, QueuedJob>;
  std::priority_queue<Ending, std::vector<Ending>, std::greater<>> decoding;  // by the step of their end
  double chunk = 0;                                                           // of the step under way
  double context = 0;                                                         // of the decoding ones
  Seat seat;                                                                  // kept up to date
  Nanos busy = 0;
};

class FleetSim {
 public:
  explicit FleetSim(const FleetSimOptions& options) : options_(options), random_(options.seed) {
    for (size_t k = 0; k < options.kinds.size(); ++k) {
      report_.kinds.push_back({.name = options.kinds[k].name});
      for (uint32_t i = 0; i < options.kinds[k].count; ++i) {
        SimEngine& engine = engines_.emplace_back();
        engine.kind = &options.kinds[k];
        engine.kind_index = k;
        engine.seat.model = Seat::Model::kReady;
        engine.seat.max_sequences = engine.kind->slots;
        engine.seat.free_pages = engine.kind->pages;
      }
    }
    for (const SimEngine& engine : engines_) seats_.push_back(engine.seat);
    jobs_.resize(options.requests.size());
  }

  FleetSimReport Run() {
    PlanDeaths();
    size_t next = 0;
    const auto& requests = options_.requests;
    while (next < requests.size() || !events_.empty()) {
      if (next < requests.size() && (events_.empty() || requests[next].at <= events_.top().at)) {
        now_ = requests[next].at;
        queue_.Push(requests[next].team, next);
        ++next;
      } else {
        const Event event = events_.top();
        events_.pop();
        now_ = event.at;
        Happen(event);
        if (next == requests.size() && done_ == requests.size()) break;  // deaths of nothing
      }
      Release();
    }
    Judge();
    return std::move(report_);
  }

 private:
  enum class What : uint8_t { kStepEnds, kDies, kReturns };
  struct Event {
    Nanos at = 0;
    uint64_t number = 0;
    What what = What::kStepEnds;
    uint32_t engine = 0;
    uint64_t life = 0;
    bool operator<(const Event& other) const {
      return std::pair(at, number) > std::pair(other.at, other.number);
    }
  };
  void At(Nanos when, What what, size_t engine) {
    events_.push({.at = when,
                  .number = numbers_++,
                  .what = what,
                  .engine = static_cast<uint32_t>(engine),
                  .life = engines_[engine].life});
  }

  void PlanDeaths() {
    if (options_.requests.empty()) return;
    const Nanos span = options_.requests.back().at;
    for (size_t e = 0; e < engines_.size(); ++e) {
      if (random_.NextUniform() < options_.deaths) {
        At(static_cast<Nanos>(random_.NextUniform() * static_cast<double>(span)), What::kDies, e);
      }
    }
  }

  void Happen(const Event& event) {
    if (event.life != engines_[event.engine].life) return;
    switch (event.what) {
      case What::kStepEnds:
        return StepEnds(event.engine);
      case What::kDies:
        return Die(event.engine);
      case What::kReturns:
        engines_[event.engine].alive = true;
        Refresh(event.engine);
        return;
    }
  }

  // ---- placing ----

  Need NeedOf(QueuedJob id) const {
    const FleetRequest& request = options_.requests[id];
    const double prompt = request.prompt + jobs_[id].emitted;
    return {.sequences = 1,
            .pages = static_cast<uint32_t>(PagesFor(static_cast<int32_t>(prompt))),
            .prompt = prompt,
            .output = usual_};
  }

  bool Fits(size_t e, const Need& need) const { return penstock::Judge(seats_[e], need) == Verdict::kFits; }

  std::optional<size_t> Choose(QueuedJob id) {
    const Need need = NeedOf(id);
    switch (options_.policy) {
      case FleetPolicy::kExpectedCost:
        return Place(seats_, need).seat;
      case FleetPolicy::kRoundRobin:
        for (size_t i = 0; i < engines_.size(); ++i) {
          const size_t e = (turn_ + i) % engines_.size();
          if (!Fits(e, need)) continue;
          turn_ = e + 1;
          return e;
        }
        return std::nullopt;
      case FleetPolicy::kTwoChoices: {
        const size_t a = random_.Below(engines_.size()), b = random_.Below(engines_.size());
        if (!Fits(a, need))
          return Fits(b, need) ? std::optional(b) : Least(need, [this](size_t e) { return Load(e); });
        return Fits(b, need) && Load(b) < Load(a) ? b : a;
      }
      case FleetPolicy::kLeastConnections:
        return Least(need, [this](size_t e) { return Load(e); });
      case FleetPolicy::kWeightedLeast:
        return Least(need,
                     [this](size_t e) { return (Load(e) + 1) * engines_[e].kind->decode.front().second; });
      case FleetPolicy::kFastest:
        return Least(need,
                     [this](size_t e) { return engines_[e].kind->decode.front().second * 1e6 + Load(e); });
    }
    return std::nullopt;
  }
  double Load(size_t e) const { return seats_[e].sequences; }

  // From a place that moves on, so that equals take turns.
  template <class Cost>
  std::optional<size_t> Least(const Need& need, Cost cost) {
    std::optional<size_t> best;
    double least = 0;
    for (size_t i = 0; i < engines_.size(); ++i) {
      const size_t e = (turn_ + i) % engines_.size();
      if (!Fits(e, need)) continue;
      if (const double c = cost(e); !best || c < least) {
        best = e;
        least = c;
      }
    }
    turn_ = best ? *best + 1 : turn_;
    return best;
  }

  void Release() {
    while (queue_.waiting() > 0 && !full_) {
      std::optional<size_t> where;
      const auto id = queue_.Pop(
          [&](QueuedJob job) {
            where = Choose(job);
            return where.has_value();
          },
          kEstimate);
      full_ = !id;
      if (id) SeatAt(*id, *where);
    }
  }

  void SeatAt(QueuedJob id, size_t e) {
    SimEngine& engine = engines_[e];
    Job& job = jobs_[id];
    job.engine = static_cast<uint32_t>(e);
    job.running = true;
    job.prefill_left = options_.requests[id].prompt + job.emitted;
    engine.prompts.push_back(id);
    engine.seat.prefill += job.prefill_left;
    engine.seat.context += job.prefill_left;
    ++engine.seat.sequences;
    engine.seat.free_pages -= std::min(engine.seat.free_pages, PagesOf(id));
    Refresh(e);
    Wake(e);
  }

  // Of the whole request: a real engine would preempt; here what may come is set aside.
  uint32_t PagesOf(QueuedJob id) const {
    const FleetRequest& request = options_.requests[id];
    return static_cast<uint32_t>(PagesFor(static_cast<int32_t>(request.prompt + request.output)));
  }

  // The placing's view of an engine.
  void Refresh(size_t e) {
    SimEngine& engine = engines_[e];
    engine.seat.model = engine.alive ? Seat::Model::kReady : Seat::Model::kAbsent;
    engine.seat.speed = engine.profile.speed();
    engine.seat.chunk = engine.profile.chunk();
    seats_[e] = engine.seat;
    full_ = false;
  }

  // ---- an engine ----

  void Wake(size_t e) {
    SimEngine& engine = engines_[e];
    if (!engine.alive || engine.stepping || engine.seat.sequences == 0) return;
    engine.stepping = true;
    double chunk = kChunk;
    engine.chunk = 0;
    for (const QueuedJob id : engine.prompts) {
      const double part = std::min(chunk, jobs_[id].prefill_left);
      engine.chunk += part;
      chunk -= part;
      if (chunk <= 0) break;
    }
    const auto sequences = static_cast<double>(engine.decoding.size());
    const double jitter = 1 + options_.noise * (2 * random_.NextUniform() - 1);
    const auto took =
        static_cast<Nanos>(jitter * engine.kind->StepTime(engine.chunk, sequences, engine.context));
    engine.profile.Note({.prefill = engine.chunk, .decode = sequences, .context = engine.context}, took);
    engine.busy += took;
    At(now_ + took, What::kStepEnds, e);
  }

  void StepEnds(size_t e) {
    SimEngine& engine = engines_[e];
    ++engine.step;
    ++report_.steps;
    engine.stepping = false;
    const auto sequences = static_cast<double>(engine.decoding.size());
    engine.context += sequences;
    engine.seat.context += sequences;
    while (!engine.decoding.empty() && engine.decoding.top().first <= engine.step) {
      const QueuedJob id = engine.decoding.top().second;
      engine.decoding.pop();
      Finish(e, id);
    }
    double chunk = engine.chunk;
    while (!engine.prompts.empty() && chunk > 0) {
      const QueuedJob id = engine.prompts.front();
      Job& job = jobs_[id];
      const double part = std::min(chunk, job.prefill_left);
      job.prefill_left -= part;
      engine.seat.prefill -= part;
      chunk -= part;
      if (job.prefill_left > 0) break;
      engine.prompts.pop_front();
      Begin(e, id);
    }
    Refresh(e);
    Wake(e);
  }

  // Its prompt is computed: the first token is there.
  void Begin(size_t e, QueuedJob id) {
    SimEngine& engine = engines_[e];
    Job& job = jobs_[id];
    const FleetRequest& request = options_.requests[id];
    if (job.first == 0) job.first = now_;
    ++job.emitted;
    engine.context += request.prompt + job.emitted;
    const uint32_t left = request.output - job.emitted;
    if (left == 0) return Finish(e, id);
    job.finish_step = engine.step + left;
    engine.decoding.emplace(job.finish_step, id);
  }

  void Leave(size_t e, QueuedJob id) {
    SimEngine& engine = engines_[e];
    Job& job = jobs_[id];
    job.running = false;
    --engine.seat.sequences;
    engine.seat.free_pages = std::min(engine.kind->pages, engine.seat.free_pages + PagesOf(id));
    if (engine.seat.sequences == 0) {
      engine.context = engine.seat.context = engine.seat.prefill = 0;
    }
  }

  void Finish(size_t e, QueuedJob id) {
    SimEngine& engine = engines_[e];
    const FleetRequest& request = options_.requests[id];
    Job& job = jobs_[id];
    job.emitted = request.output;
    const double held = request.prompt + request.output;
    engine.context = std::max(engine.context - held, 0.0);
    engine.seat.context = std::max(engine.seat.context - held, 0.0);
    Leave(e, id);
    job.ended = now_;
    usual_ += (request.output - usual_) / 32;
    FleetSimReport::Kind& kind = report_.kinds[engine.kind_index];
    ++kind.requests;
    kind.prompt += request.prompt;
    kind.output += request.output;
    ++done_;
    queue_.Charge(id, kEstimate);
    queue_.Done(id);
  }

  void Die(size_t e) {
    SimEngine& engine = engines_[e];
    ++report_.deaths;
    ++engine.life;
    engine.alive = engine.stepping = false;
    std::vector<QueuedJob> orphans(engine.prompts.begin(), engine.prompts.end());
    engine.prompts.clear();
    for (; !engine.decoding.empty(); engine.decoding.pop()) {
      const auto [finish, id] = engine.decoding.top();
      jobs_[id].emitted = options_.requests[id].output - static_cast<uint32_t>(finish - engine.step);
      orphans.push_back(id);
    }
    for (const QueuedJob id : orphans) {
      Leave(e, id);
      report_.resumed += jobs_[id].emitted > 0;
      ++jobs_[id].requeues;
      queue_.PushFront(options_.requests[id].team, id);
    }
    Refresh(e);
    At(now_ + options_.repair, What::kReturns, e);
  }

  // ---- what came of it ----

  void Judge() {
    report_.ended_at = now_;
    report_.requests = jobs_.size();
    std::vector<double> first, pace;
    for (size_t id = 0; id < jobs_.size(); ++id) {
      const Job& job = jobs_[id];
      const FleetRequest& request = options_.requests[id];
      if (job.ended == 0) {
        ++report_.failed;
        continue;
      }
      ++report_.finished;
      const Nanos waited = job.first - request.at;
      const Nanos each = request.output > 1 ? (job.ended - job.first) / (request.output - 1) : 0;
      report_.good += waited <= options_.first_token && each <= options_.per_token;
      first.push_back(static_cast<double>(waited) / kSecond);
      if (request.output > 1) pace.push_back(static_cast<double>(each) / kSecond);
    }
    report_.first_token_p50 = Percentile(first, 0.5);
    report_.first_token_p99 = Percentile(first, 0.99);
    report_.per_token_p50 = Percentile(pace, 0.5);
    report_.per_token_p99 = Percentile(pace, 0.99);
    for (const SimEngine& engine : engines_) {
      FleetSimReport::Kind& kind = report_.kinds[engine.kind_index];
      kind.busy += static_cast<double>(engine.busy) / static_cast<double>(std::max<Nanos>(now_, 1)) /
                   engine.kind->count;
      if (engine.seat.sequences != 0) report_.violations.push_back("an engine still runs something");
    }
    if (report_.failed > 0)
      report_.violations.push_back(fmt::format("{} requests never ended", report_.failed));
  }

  static double Percentile(std::vector<double>& values, double p) {
    if (values.empty()) return 0;
    const auto at = values.begin() + static_cast<ptrdiff_t>(p * static_cast<double>(values.size() - 1));
    std::ranges::nth_element(values, at);
    return *at;
  }

  const FleetSimOptions& options_;
  Random random_;
  FairQueue queue_;
  std::vector<Job> jobs_;
  std::vector<SimEngine> engines_;
  std::vector<Seat> seats_;
  std::priority_queue<Event> events_;
  uint64_t numbers_ = 0;
  Nanos now_ = 0;
  size_t turn_ = 0, done_ = 0;
  double usual_ = kFirstOutput;
  bool full_ = false;  // nothing fits until an engine changes
  FleetSimReport report_;
};

}  // namespace

double ChipKind::StepTime(double prefill_tokens, double sequences, double positions) const {
  const auto above = std::ranges::lower_bound(decode, sequences, {}, &std::pair<double, double>::first);
  double time = 0;
  if (above == decode.begin()) {
    time = decode.front().second;
  } else {
    // Beyond the table its last slope goes on.
    const auto right = above == decode.end() ? std::prev(above) : above, left = std::prev(right);
    const double slope = (right->second - left->second) / (right->first - left->first);
    time = left->second + slope * (sequences - left->first);
  }
  return time + context * positions + prefill * prefill_tokens;
}

std::string_view PolicyName(FleetPolicy policy) {
  switch (policy) {
    case FleetPolicy::kExpectedCost:
      return "expected cost";
    case FleetPolicy::kRoundRobin:
      return "round robin";
    case FleetPolicy::kLeastConnections:
      return "least connections";
    case FleetPolicy::kWeightedLeast:
      return "weighted least connections";
    case FleetPolicy::kTwoChoices:
      return "two choices";
    case FleetPolicy::kFastest:
      return "fastest first";
  }
  return "";
}

FleetSimReport SimulateFleet(const FleetSimOptions& options) {
  return FleetSim(options).Run();
}

}  // namespace penstock
