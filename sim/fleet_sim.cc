#include "sim/fleet_sim.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <queue>
#include <utility>

#include "base/random.h"
#include "fleet/pool/pool.h"

namespace penstock {
namespace {

constexpr uint32_t kMostOutput = 4096;  // tokens that clients allow

struct Request {
  Nanos first = 0, ended = 0;
  int ends = 0;
  size_t kind = 0;  // of the chip that it was sent to last
};

// A chip's place in the fleet, through its deaths.
struct Place {
  const ChipKind* kind = nullptr;
  size_t kind_index = 0;
  EngineKey key = 0;
  std::unique_ptr<FormulaChip> chip;  // null: dead
  bool stepping = false;
  Nanos busy = 0;  // of its former lives
};

class FleetSim {
 public:
  explicit FleetSim(const FleetSimOptions& options)
      : options_(options), random_(options.seed), pool_(Options(), 0) {
    for (size_t k = 0; k < options.kinds.size(); ++k) {
      report_.kinds.push_back({.name = options.kinds[k].name});
      for (uint32_t i = 0; i < options.kinds[k].count; ++i)
        places_.push_back({.kind = &options.kinds[k], .kind_index = k, .chip = nullptr});
    }
    requests_.resize(options.requests.size());
  }

  FleetSimReport Run() {
    pool_.Serve({.name = "m", .path = "formula:m"}, now_);
    for (size_t place = 0; place < places_.size(); ++place) Return(place);
    PlanDeaths();
    size_t next = 0;
    const auto& requests = options_.requests;
    while (done_ < requests.size() && report_.violations.empty()) {
      if (next < requests.size() && (events_.empty() || requests[next].at <= events_.top().at)) {
        now_ = requests[next].at;
        Arrive(requests[next++]);
      } else {
        const Event event = events_.top();
        events_.pop();
        now_ = event.at;
        Happen(event);
      }
      CarryOut();
      if (++happened_ % options_.check_every == 0) Check();
    }
    Check();
    Judge();
    return std::move(report_);
  }

 private:
  enum class What : uint8_t { kStepEnds, kDies, kReturns, kTick };
  struct Event {
    Nanos at = 0;
    uint64_t number = 0;
    What what = What::kStepEnds;
    uint32_t place = 0;
    EngineKey key = 0;
    bool operator<(const Event& other) const {
      return std::pair(at, number) > std::pair(other.at, other.number);
    }
  };
  void At(Nanos when, What what, size_t place) {
    events_.push({.at = when,
                  .number = numbers_++,
                  .what = what,
                  .place = static_cast<uint32_t>(place),
                  .key = places_[place].key});
  }

  PoolOptions Options() {
    PoolOptions options;
    options.max_waiting = SIZE_MAX;
    options.max_requeues = 100;
    options.engine_timeout = INT64_MAX / 2;  // chips here die, they do not fall silent
    options.tick = kSecond;
    options.place = MakePolicy(options_.policy, Draw(options_.seed, 1), [this](EngineKey key) {
      return places_[PlaceOf(key)].kind->decode.front().second;
    });
    return options;
  }
  size_t PlaceOf(EngineKey key) const { return place_of_[key - 1]; }

  void PlanDeaths() {
    if (options_.requests.empty()) return;
    const auto span = static_cast<double>(options_.requests.back().at);
    for (size_t place = 0; place < places_.size(); ++place) {
      if (random_.NextUniform() < options_.deaths)
        At(static_cast<Nanos>(random_.NextUniform() * span), What::kDies, place);
    }
  }

  void Happen(const Event& event) {
    if (event.what == What::kTick) return pool_.Tick(now_);
    if (event.key != places_[event.place].key) return;  // of a former life
    switch (event.what) {
      case What::kStepEnds:
        return StepEnds(event.place);
      case What::kDies:
        return Die(event.place);
      default:
        return Return(event.place);
    }
  }

  // ---- requests ----

  // Job N is request N - 1: the pool numbers them from 1, and nothing else is submitted.
  void Arrive(const FleetRequest& request) {
    Job job;
    job.submit.set_model("m");
    job.submit.mutable_prompt()->Resize(static_cast<int>(request.prompt), 1);
    job.submit.set_max_tokens(std::max(request.output, kMostOutput));  // how long the answer is, nobody knows
    job.owner = {request.team};
    if (!pool_.Submit(std::move(job), now_)) report_.violations.push_back("a request was refused");
  }

  void CarryOut() {
    while (auto action = pool_.Next()) std::visit([this](auto& what) { Do(what); }, *action);
  }
  void Do(const SendToEngine& send) {
    const size_t where = PlaceOf(send.engine);
    const Place& place = places_[where];
    if (place.key != send.engine || !place.chip) return;
    if (send.message->has_load()) {
      const wire::FromEngine ready =
          place.chip->Ready(send.message->load().name(), send.message->load().path());
      pool_.Heard(place.key, ready, now_);
      wire::FromEngine beat;
      beat.mutable_heartbeat()->mutable_load()->set_free_pages(place.kind->pages);
      pool_.Heard(place.key, beat, now_);
    } else if (send.message->has_submit()) {
      const wire::Submit& submit = send.message->submit();
      const int emitted = submit.resume_size() > 0 ? submit.resume(0).ids_size() : 0;
      const size_t index = LiveJob::IdOf(submit.request()) - 1;
      place.chip->Submit(submit.request(), static_cast<uint32_t>(submit.prompt_size()),
                         options_.requests[index].output, static_cast<uint32_t>(emitted));
      requests_[index].kind = place.kind_index;
      Wake(where);
    }
  }
  void Do(const TellTokens& tell) {
    Request& request = requests_[tell.job - 1];
    if (request.first == 0) request.first = now_;
    if (!tell.last) return;
    request.ended = now_;
    End(request);
    const FleetRequest& asked = options_.requests[tell.job - 1];
    FleetSimReport::Kind& kind = report_.kinds[request.kind];
    ++kind.requests;
    kind.prompt += asked.prompt;
    kind.output += asked.output;
  }
  void Do(const TellFailed& tell) { End(requests_[tell.job - 1]); }
  void Do(const CallTurn&) { pool_.Turn(now_); }
  void Do(const CallTick& call) { events_.push({.at = call.at, .number = numbers_++, .what = What::kTick}); }
  template <class Other>
  void Do(const Other&) {}

  void End(Request& request) {
    ++done_;
    if (++request.ends > 1) report_.violations.push_back("a request ended twice");
  }

  // ---- chips ----

  void Return(size_t where) {
    Place& place = places_[where];
    place.key = static_cast<EngineKey>(place_of_.size() + 1);
    place_of_.push_back(where);
    place.chip = std::make_unique<FormulaChip>(*place.kind, fmt::format("{}-{}", place.kind->name, where));
    place.stepping = false;
    pool_.Connected(place.key, now_);
    pool_.Heard(place.key, place.chip->Hello(), now_);
    CarryOut();
  }

  void Wake(size_t where) {
    Place& place = places_[where];
    if (place.stepping || place.chip->idle()) return;
    place.stepping = true;
    const double jitter = 1 + options_.noise * (2 * random_.NextUniform() - 1);
    At(now_ + place.chip->Begin(jitter), What::kStepEnds, where);
  }

  void StepEnds(size_t where) {
    Place& place = places_[where];
    ++report_.steps;
    pool_.Heard(place.key, place.chip->End(), now_);
    CarryOut();  // before the next step begins: the actions refer to this one's report
    place.stepping = false;
    Wake(where);
  }

  void Die(size_t where) {
    Place& place = places_[where];
    ++report_.deaths;
    pool_.Heard(place.key, place.chip->LastWords(), now_);
    CarryOut();
    place.busy += place.chip->busy();
    place.chip = nullptr;
    const EngineKey gone = place.key;
    place.key = 0;
    pool_.Gone(gone, "its connection ended", now_);
    At(now_ + options_.repair, What::kReturns, where);
  }

  // ---- what came of it ----

  void Check() {
    if (const Status holds = pool_.CheckIntegrity(); !holds)
      report_.violations.push_back(holds.error().message);
  }

  void Judge() {
    report_.ended_at = now_;
    report_.requests = requests_.size();
    report_.resumed = pool_.stats().resumed;
    std::vector<double> first, pace;
    for (size_t i = 0; i < requests_.size(); ++i) {
      const Request& request = requests_[i];
      const FleetRequest& asked = options_.requests[i];
      if (request.ended == 0) {
        ++report_.failed;
        continue;
      }
      ++report_.finished;
      const Nanos waited = request.first - asked.at;
      const Nanos each = asked.output > 1 ? (request.ended - request.first) / (asked.output - 1) : 0;
      report_.good += waited <= options_.first_token && each <= options_.per_token;
      first.push_back(static_cast<double>(waited) / kSecond);
      if (asked.output > 1) pace.push_back(static_cast<double>(each) / kSecond);
    }
    report_.first_token_p50 = Percentile(first, 0.5);
    report_.first_token_p99 = Percentile(first, 0.99);
    report_.per_token_p50 = Percentile(pace, 0.5);
    report_.per_token_p99 = Percentile(pace, 0.99);
    for (const Place& place : places_) {
      const Nanos busy = place.busy + (place.chip ? place.chip->busy() : 0);
      report_.kinds[place.kind_index].busy +=
          static_cast<double>(busy) / static_cast<double>(std::max<Nanos>(now_, 1)) / place.kind->count;
    }
    if (pool_.Waiting() + pool_.Running() > 0) report_.violations.push_back("the pool still has a request");
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
  Nanos now_ = 0;
  std::vector<Place> places_;
  std::vector<size_t> place_of_;  // by key - 1
  Pool pool_;
  std::vector<Request> requests_;
  std::priority_queue<Event> events_;
  uint64_t numbers_ = 0, happened_ = 0;
  size_t done_ = 0;
  FleetSimReport report_;
};

}  // namespace

FleetSimReport SimulateFleet(const FleetSimOptions& options) {
  return FleetSim(options).Run();
}

}  // namespace penstock
