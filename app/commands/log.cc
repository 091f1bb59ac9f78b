// `penstock log`: shows and changes the log levels of the gateway and the engines while they run.
#include "app/client/cloud.h"
#include "app/commands/commands.h"
#include "app/common/json_get.h"
#include "app/settings/units.h"
#include "base/log_level.h"

namespace penstock {
namespace {

struct Options {
  std::string level, component = "all", lasting;
  bool as_json = false;
};

void PrintPart(const boost::json::object& levels, std::string_view part) {
  const auto& one = GetObject(levels, part);
  const int64_t left = GetInt(one, "for_seconds");
  fmt::print("{:8} {}{}\n", part, GetText(one, "level"),
             left > 0 ? fmt::format(", for {} more", ShowDuration(left * kSecond)) : "");
}

Result<int> Run(const LoadedConfig& loaded, const Options& options) {
  boost::json::object body;
  if (!options.level.empty()) {
    body = {{"level", options.level}, {"component", options.component}};
    if (!options.lasting.empty()) {
      PENSTOCK_ASSIGN(const Nanos lasting, ParseDuration(options.lasting));
      body["for_seconds"] = lasting / kSecond;
    }
  }
  PENSTOCK_ASSIGN(const Cloud cloud, Cloud::Open(loaded.config));
  PENSTOCK_ASSIGN(const auto levels,
                  body.empty() ? cloud.Get("/admin/v1/log") : cloud.Post("/admin/v1/log", body));
  if (options.as_json) {
    fmt::print("{}", PrettyJson(levels));
    return 0;
  }
  PrintPart(levels, "gateway");
  PrintPart(levels, "engine");
  return 0;
}

}  // namespace

void AddLogCommand(CLI::App& app, Cli& cli) {
  auto options = std::make_shared<Options>();
  CLI::App* log = app.add_subcommand("log", "Show or change the log level while the cloud runs");
  log->add_option("level", options->level, "error, warning, info, debug or trace; none: show the levels")
      ->check(OneOf({"error", "warning", "info", "debug", "trace"}));
  log->add_option("--for", options->component, "gateway, engine or all (default)")
      ->check(OneOf({"gateway", "engine", "all"}));
  log->add_option("--during", options->lasting, "return to the configured level after this time, such as 10m")
      ->check(Duration());
  log->add_flag("--json", options->as_json, "print JSON");
  log->footer(
      "No level logs a prompt, an answer or a key. The setting `log.level` is the level at startup.\n\n"
      "Example:\n  penstock log debug --for gateway --during 10m\n  penstock log info");
  log->callback(
      [&cli, options] { cli.run = [options](const LoadedConfig& loaded) { return Run(loaded, *options); }; });
}

}  // namespace penstock
