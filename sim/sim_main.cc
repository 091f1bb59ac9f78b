// penstock_sim: one run of the simulated cloud, as a table.
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "sim/cloud_sim.h"

int main(int argc, char** argv) {
  penstock::SimOptions options;
  penstock::SimTeamOptions team;
  uint32_t teams = 3;
  CLI::App app(
      "Runs Penstock's pool and planner under a simulated clock. The same seed gives the same "
      "run.");
  app.add_option("--seed", options.seed, "replays a run")->capture_default_str();
  app.add_option("--teams", teams, "each sends half as many requests again as the one before")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--requests", team.requests, "of the first team")->capture_default_str();
  app.add_option("--rate", team.requests_per_second, "requests a second of each team; 0: all at once")
      ->capture_default_str();
  app.add_option("--prompt", team.prompt, "tokens, mean")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--output", team.output, "tokens, mean")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--engines", options.engines)->check(CLI::Range(1, 10000))->capture_default_str();
  app.add_option("--slots", options.slots, "sequences running at once in an engine")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--pages", options.pages, "of 16 tokens in an engine")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--deaths", options.deaths_per_second, "of each engine, per second")->capture_default_str();
  app.add_option("--failed-steps", options.failed_steps, "probability")->capture_default_str();
  app.add_option("--cancelled", options.cancelled, "probability")->capture_default_str();
  app.add_option("--slow-readers", options.slow_readers, "probability")->capture_default_str();
  CLI11_PARSE(app, argc, argv);

  options.teams.assign(teams, team);
  for (uint32_t i = 1; i < teams; ++i) options.teams[i].requests = options.teams[i - 1].requests * 3 / 2;
  const penstock::SimReport report = penstock::SimulateCloud(options);

  const auto seconds = [](penstock::Nanos nanos) { return static_cast<double>(nanos) / penstock::kSecond; };
  fmt::print("{:>5} {:>7} {:>9} {:>7} {:>10} {:>9} {:>9} {:>9} {:>9}\n", "team", "sent", "finished", "failed",
             "cancelled", "tokens", "chip s", "wait s", "longest");
  for (size_t i = 0; i < report.teams.size(); ++i) {
    const penstock::SimTeam& t = report.teams[i];
    fmt::print("{:>5} {:>7} {:>9} {:>7} {:>10} {:>9} {:>9.2f} {:>9.3f} {:>9.3f}\n", i, t.sent, t.finished,
               t.failed, t.cancelled, t.tokens, seconds(t.chip_time),
               seconds(t.waited) / std::max(1U, t.sent), seconds(t.longest_wait));
  }
  fmt::print(
      "{:.2f} simulated s, {} steps, {} deaths, {} requeued, {} preemptions, unfairness {:.3f} s of {:.3f} "
      "allowed, log {:016x}\n",
      seconds(report.ended_at), report.steps, report.deaths, report.requeued, report.preemptions,
      seconds(report.unfairness), seconds(report.unfairness_bound), report.log_hash);
  for (const std::string& violation : report.violations) fmt::print("violation: {}\n", violation);
  return report.violations.empty() ? 0 : 1;
}
