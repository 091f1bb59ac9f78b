#include "gateway/observe/metrics.h"

#include <prometheus/text_serializer.h>
#include <unistd.h>

#include <cstdio>

namespace penstock::gateway {
namespace {

const prometheus::Histogram::BucketBoundaries kSeconds = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                                          1,     2.5,  5,     10,   30,  60,   300};
const prometheus::Histogram::BucketBoundaries kTokenSeconds = {0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05,
                                                               0.075, 0.1,    0.2,   0.5,  1,    2.5,  10};

auto& CounterFamily(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}
auto& HistogramFamily(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry);
}

double ResidentBytes() {
  std::FILE* const file = std::fopen("/proc/self/statm", "re");
  if (file == nullptr) return 0;
  long total = 0, resident = 0;
  const int read = std::fscanf(file, "%ld %ld", &total, &resident);
  std::fclose(file);
  return read == 2 ? static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE)) : 0;
}

// Families whose values are read at the scrape: engines that left have no series.
class Scrape {
 public:
  using Labels = std::vector<prometheus::ClientMetric::Label>;

  prometheus::MetricFamily& Family(const char* name, const char* help, prometheus::MetricType type) {
    prometheus::MetricFamily& family = families_.emplace_back();
    family.name = name;
    family.help = help;
    family.type = type;
    return family;
  }
  void Gauge(const char* name, const char* help, double value) {
    Add(Family(name, help, prometheus::MetricType::Gauge), {}, value);
  }
  void Counter(const char* name, const char* help, double value) {
    Add(Family(name, help, prometheus::MetricType::Counter), {}, value);
  }
  template <class Rows, class Label, class Value>
  void Each(const char* name, const char* help, prometheus::MetricType type, const Rows& rows,
            const Label& label, const Value& value) {
    prometheus::MetricFamily& family = Family(name, help, type);
    for (const auto& row : rows) Add(family, label(row), static_cast<double>(value(row)));
  }
  static void Add(prometheus::MetricFamily& family, Labels labels, double value) {
    prometheus::ClientMetric& metric = family.metric.emplace_back();
    metric.label = std::move(labels);
    (family.type == prometheus::MetricType::Gauge ? metric.gauge.value : metric.counter.value) = value;
  }

  std::vector<prometheus::MetricFamily> families_;
};

void AddEngines(const std::vector<EngineView>& engines, Scrape& scrape) {
  using prometheus::MetricType;
  const auto name = [](const EngineView& e) { return Scrape::Labels{{"engine", e.name}}; };
  const auto gauge = [&](const char* metric, const char* help, auto value) {
    scrape.Each(metric, help, MetricType::Gauge, engines, name, value);
  };
  const auto counter = [&](const char* metric, const char* help, auto value) {
    scrape.Each(metric, help, MetricType::Counter, engines, name, value);
  };
  gauge("penstock_engine_up", "1 if the engine is connected", [](const auto& e) { return e.connected; });
  gauge("penstock_engine_running", "Sequences that run", [](const auto& e) { return e.load.running(); });
  gauge("penstock_engine_waiting", "Requests accepted, without a page yet",
        [](const auto& e) { return e.load.waiting(); });
  gauge("penstock_engine_free_pages", "KV pages that are free or evictable",
        [](const auto& e) { return e.load.free_pages(); });
  gauge("penstock_engine_cached_pages", "KV pages kept for their prefix",
        [](const auto& e) { return e.load.cached_pages(); });
  gauge("penstock_engine_resident_bytes", "Measured memory of the engine",
        [](const auto& e) { return e.load.resident_bytes(); });
  counter("penstock_engine_restored_tokens_total", "Tokens of paused sequences that were not computed again",
          [](const auto& e) { return e.load.restored_tokens(); });
  counter("penstock_engine_preemptions_total", "Sequences that lost their pages",
          [](const auto& e) { return e.load.preemptions(); });
  counter("penstock_engine_prefix_hit_tokens_total", "Prompt tokens from the prefix cache",
          [](const auto& e) { return e.load.prefix_hit_tokens(); });
  counter("penstock_engine_computed_tokens_total", "Tokens computed, reruns included",
          [](const auto& e) { return e.load.computed_tokens(); });
  prometheus::MetricFamily& models =
      scrape.Family("penstock_engine_model_ready", "1 if the engine has the model ready", MetricType::Gauge);
  for (const EngineView& engine : engines) {
    for (const wire::ModelState& state : engine.models) {
      Scrape::Add(models, {{"engine", engine.name}, {"model", state.name()}},
                  state.state() == wire::ModelState::READY);
    }
  }
}

void AddQueue(const std::vector<TeamQueueView>& queue, Scrape& scrape) {
  using prometheus::MetricType;
  const auto team = [](const TeamQueueView& t) { return Scrape::Labels{{"team", t.name}}; };
  scrape.Each("penstock_queue_waiting", "Jobs that wait for an engine", MetricType::Gauge, queue, team,
              [](const auto& t) { return t.waiting; });
  scrape.Each("penstock_queue_running", "Jobs on an engine", MetricType::Gauge, queue, team,
              [](const auto& t) { return t.running; });
  scrape.Each("penstock_team_chip_seconds_total", "Measured chip time", MetricType::Counter, queue, team,
              [](const auto& t) { return static_cast<double>(t.chip_ns) / kSecond; });
}

void AddFleet(const FleetStats& fleet, Scrape& scrape) {
  const auto counter = [&](const char* name, const char* help, uint64_t value) {
    scrape.Counter(name, help, static_cast<double>(value));
  };
  counter("penstock_jobs_submitted_total", "Jobs that came to the queue", fleet.submitted);
  counter("penstock_jobs_refused_total", "Jobs that the queue did not take", fleet.refused);
  counter("penstock_jobs_requeued_total", "Jobs whose engine died or failed: sent to another",
          fleet.requeued);
  counter("penstock_jobs_resumed_total", "Of those: their answers had begun, and went on", fleet.resumed);
  counter("penstock_jobs_moved_total", "Jobs that went on at another engine though theirs had not failed",
          fleet.moved);
  counter("penstock_canaries_total", "Questions with known answers that engines were asked", fleet.canaries);
  counter("penstock_canaries_wrong_total", "Times that an engine was found to answer wrongly",
          fleet.canaries_wrong);
  counter("penstock_quarantines_total", "Times that an engine was left alone for a while", fleet.quarantines);
  scrape.Counter("penstock_canary_chip_seconds_total", "Chip time of canaries, charged to no team",
                 static_cast<double>(fleet.canary_chip_ns) / kSecond);
  counter("penstock_jobs_failed_total", "Jobs that ended with an error", fleet.failed);
  counter("penstock_jobs_timed_out_total", "Jobs that waited too long", fleet.timed_out);
  counter("penstock_jobs_cancelled_total", "Jobs whose client left", fleet.cancelled);
  counter("penstock_engine_deaths_total", "Engines lost", fleet.engine_deaths);
  scrape.Counter("penstock_queue_wait_seconds_total", "Waiting of all jobs together",
                 static_cast<double>(fleet.queue_wait_ns) / kSecond);
  scrape.Counter("penstock_chip_seconds_total", "Measured chip time",
                 static_cast<double>(fleet.chip_ns) / kSecond);
}

}  // namespace

Metrics::Metrics()
    : requests_(CounterFamily(registry_, "penstock_requests_total", "Generations by outcome")),
      tokens_(CounterFamily(registry_, "penstock_tokens_total",
                            "Billed tokens; input: those that were not cached")),
      http_(CounterFamily(registry_, "penstock_http_responses_total", "HTTP responses by status")),
      first_token_(HistogramFamily(registry_, "penstock_time_to_first_token_seconds",
                                   "From a request's arrival to its first token")),
      duration_(
          HistogramFamily(registry_, "penstock_request_seconds", "From a request's arrival to its end")),
      inter_token_(
          HistogramFamily(registry_, "penstock_inter_token_seconds", "Between a choice's token events")
              .Add({}, kTokenSeconds)) {}

Metrics::Series& Metrics::SeriesOf(const std::string& model, const std::string& team) {
  const auto [at, fresh] = series_.try_emplace({model, team});
  Series& series = at->second;
  if (!fresh) return series;
  const prometheus::Labels labels = {{"model", model}, {"team", team}};
  const auto tokens = [&](const char* kind) {
    return &tokens_.Add({{"model", model}, {"team", team}, {"kind", kind}});
  };
  series.input = tokens("input");
  series.cached = tokens("cached_input");
  series.output = tokens("output");
  series.first_token = &first_token_.Add(labels, kSeconds);
  series.duration = &duration_.Add(labels, kSeconds);
  return series;
}

void Metrics::Ended(const RequestEnd& end) {
  Series& series = SeriesOf(end.model, end.team);
  prometheus::Counter*& counter = series.requests[{end.status, end.outcome}];
  if (counter == nullptr) {
    counter = &requests_.Add({{"model", end.model},
                              {"team", end.team},
                              {"code", std::to_string(end.status)},
                              {"outcome", end.outcome}});
  }
  counter->Increment();
  series.input->Increment(static_cast<double>(end.usage.input - end.usage.cached));
  series.cached->Increment(static_cast<double>(end.usage.cached));
  series.output->Increment(static_cast<double>(end.usage.billed));
  series.duration->Observe(static_cast<double>(end.duration) / kSecond);
  if (end.first_token > 0) series.first_token->Observe(static_cast<double>(end.first_token) / kSecond);
}

void Metrics::HttpAnswer(int status) {
  prometheus::Counter*& counter = answers_[status];
  if (counter == nullptr) counter = &http_.Add({{"code", std::to_string(status)}});
  counter->Increment();
}

std::string Metrics::Render(const Gauges& gauges) const {
  Scrape scrape;
  scrape.families_ = registry_.Collect();
  const auto gauge = [&](const char* name, const char* help, auto value) {
    scrape.Gauge(name, help, static_cast<double>(value));
  };
  gauge("penstock_ready", "1 if a request would be answered", gauges.ready);
  gauge("penstock_store_healthy", "1 if the store can be written", gauges.store_healthy);
  gauge("penstock_connections", "Open HTTP connections", gauges.connections);
  gauge("penstock_open_requests", "Generations under way", gauges.open_streams);
  gauge("penstock_waiting", "Jobs that wait for an engine, all teams", gauges.waiting);
  gauge("penstock_running", "Jobs on engines, all teams", gauges.running);
  gauge("penstock_resident_bytes", "Memory of the gateway process", ResidentBytes());
  gauge("penstock_uptime_seconds", "Since the gateway started", static_cast<double>(gauges.uptime) / kSecond);
  AddFleet(gauges.fleet, scrape);
  AddQueue(gauges.queue, scrape);
  AddEngines(gauges.engines, scrape);
  return prometheus::TextSerializer().Serialize(scrape.families_);
}

}  // namespace penstock::gateway
