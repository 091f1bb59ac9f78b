// Metrics: what Prometheus scrapes from /metrics, and what becomes of each request's end.
//
// Labels are bounded: models that are installed, teams that exist, a handful of statuses and kinds.
// Threads: the io thread.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <map>
#include <string>
#include <tuple>

#include "base/clock.h"
#include "fleet/fleet.h"
#include "teams/teams.h"

namespace penstock::gateway {

// One generation's end, for metrics and the log.
struct RequestEnd {
  std::string id, team, key, model;  // `model` empty: not an installed one
  std::string_view endpoint;         // "chat", "completions"
  int status = 200;
  std::string outcome, detail;
  Usage usage;
  Nanos first_token = 0;  // from arrival; 0: none came
  Nanos duration = 0;
};

// What is read at the moment of the scrape.
struct Gauges {
  size_t connections = 0, open_streams = 0, waiting = 0, running = 0;
  bool store_healthy = true, ready = false;
  Nanos uptime = 0;
  FleetStats fleet;
  std::vector<EngineView> engines;
  std::vector<TeamQueueView> queue;
};

class Metrics {
 public:
  Metrics();
  void Ended(const RequestEnd& end);
  void InterToken(Nanos gap) { inter_token_.Observe(static_cast<double>(gap) / kSecond); }
  void HttpAnswer(int status);
  std::string Render(const Gauges& gauges) const;

 private:
  // The series of one model and team: looked up once, then remembered.
  struct Series {
    prometheus::Counter *input, *cached, *output;
    prometheus::Histogram *first_token, *duration;
    std::map<std::pair<int, std::string>, prometheus::Counter*> requests;  // by status and outcome
  };
  Series& SeriesOf(const std::string& model, const std::string& team);

  prometheus::Registry registry_;
  prometheus::Family<prometheus::Counter>&requests_, &tokens_, &http_;
  prometheus::Family<prometheus::Histogram>&first_token_, &duration_;
  prometheus::Histogram& inter_token_;
  std::map<std::pair<std::string, std::string>, Series> series_;
  std::map<int, prometheus::Counter*> answers_;
};

}  // namespace penstock::gateway
