// penstock_fleet_sim: a fleet of chips under a trace, one policy after the other, as JSON lines.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <fstream>
#include <sstream>

#include "sim/fleet_sim.h"

namespace penstock {
namespace {

// A line of the chips' file: name count slots pages context_ns prefill_ns sequences:ns …
std::vector<ChipKind> ReadKinds(const std::string& path) {
  std::vector<ChipKind> kinds;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    ChipKind kind;
    words >> kind.name >> kind.count >> kind.slots >> kind.pages >> kind.context >> kind.prefill;
    double sequences = 0, time = 0;
    for (char colon = 0; words >> sequences >> colon >> time;) kind.decode.emplace_back(sequences, time);
    if (!kind.decode.empty()) kinds.push_back(std::move(kind));
  }
  return kinds;
}

// A line of the requests' file: microseconds team prompt output
std::vector<FleetRequest> ReadRequests(const std::string& path) {
  std::vector<FleetRequest> requests;
  std::ifstream file(path);
  FleetRequest request;
  while (file >> request.at >> request.team >> request.prompt >> request.output) {
    request.at *= kMicrosecond;
    requests.push_back(request);
  }
  return requests;
}

void Print(std::string_view policy, const FleetSimReport& report) {
  std::string kinds;
  for (const auto& kind : report.kinds) {
    kinds +=
        fmt::format(R"({}{{"name":"{}","requests":{},"prompt":{},"output":{},"busy":{:.4f}}})",
                    kinds.empty() ? "" : ",", kind.name, kind.requests, kind.prompt, kind.output, kind.busy);
  }
  fmt::print(R"({{"policy":"{}","requests":{},"finished":{},"good":{},"deaths":{},"resumed":{},"steps":{},)"
             R"("seconds":{:.3f},"first_p50":{:.4f},"first_p99":{:.4f},"pace_p50":{:.5f},"pace_p99":{:.5f},)"
             R"("violations":{},"kinds":[{}]}})"
             "\n",
             policy, report.requests, report.finished, report.good, report.deaths, report.resumed,
             report.steps, static_cast<double>(report.ended_at) / kSecond, report.first_token_p50,
             report.first_token_p99, report.per_token_p50, report.per_token_p99, report.violations.size(),
             kinds);
  std::fflush(stdout);
}

}  // namespace
}  // namespace penstock

int main(int argc, char** argv) {
  using namespace penstock;
  FleetSimOptions options;
  options.check_every = 100'000;
  std::string chips, requests;
  double first_token = 2, per_token = 0.06;
  CLI::App app(
      "Runs Penstock's pool before simulated chips, once with its own placement and once with each other "
      "policy.");
  app.add_option("--chips", chips, "file: NAME COUNT SLOTS PAGES CONTEXT_NS PREFILL_NS SEQUENCES:NS …")
      ->required();
  app.add_option("--requests", requests, "file: MICROSECONDS TEAM PROMPT OUTPUT")->required();
  app.add_option("--seed", options.seed)->capture_default_str();
  app.add_option("--deaths", options.deaths, "of a chip, over the whole time")->capture_default_str();
  app.add_option("--first-token", first_token, "seconds that are good")->capture_default_str();
  app.add_option("--per-token", per_token, "seconds that are good")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  options.kinds = ReadKinds(chips);
  options.requests = ReadRequests(requests);
  options.first_token = static_cast<Nanos>(first_token * kSecond);
  options.per_token = static_cast<Nanos>(per_token * kSecond);
  if (options.kinds.empty() || options.requests.empty()) {
    fmt::print(stderr, "{} names no chips, or {} no requests\n", chips, requests);
    return 1;
  }
  for (const FleetPolicy policy :
       {FleetPolicy::kExpectedCost, FleetPolicy::kRoundRobin, FleetPolicy::kLeastConnections,
        FleetPolicy::kWeightedLeast, FleetPolicy::kTwoChoices, FleetPolicy::kFastest}) {
    options.policy = policy;
    Print(PolicyName(policy), SimulateFleet(options));
  }
}
