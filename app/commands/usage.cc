// `penstock usage`: what each team used, and the trace of one request.
#include <algorithm>

#include "app/client/cloud.h"
#include "app/commands/commands.h"
#include "app/common/json_get.h"
#include "app/common/table.h"
#include "app/settings/units.h"

namespace penstock {
namespace json = boost::json;
namespace {

struct Options {
  std::string request, team, model, key, since, until, by;
  bool by_key = false, as_json = false;
};

// "24h" ago, or the start of "2026-03-01" in local time → Unix seconds.
Result<int64_t> ParseMoment(const std::string& text, std::string_view flag) {
  tm day{};
  if (const char* end = strptime(text.c_str(), "%Y-%m-%d", &day); end != nullptr && *end == '\0') {
    day.tm_isdst = -1;
    return static_cast<int64_t>(mktime(&day));
  }
  const auto ago = ParseDuration(text);
  if (!ago.has_value())
    return Fail(Code::kInvalid, "{} must be a time such as 24h or 2026-03-01, not '{}'", flag, text);
  return (SystemClock().Wall() - *ago) / kSecond;
}

// The offset of this machine's time zone, in seconds east of UTC.
int64_t ZoneHere() {
  const time_t now = SystemClock().Wall() / kSecond;
  tm local{};
  localtime_r(&now, &local);
  return local.tm_gmtoff;
}

Result<std::string> Query(const Options& options) {
  std::string query;
  const auto add = [&](std::string_view name, const std::string& value) {
    if (!value.empty()) query += fmt::format("{}{}={}", query.empty() ? "?" : "&", name, UrlEscape(value));
  };
  add("team", options.team);
  add("model", options.model);
  add("key", options.key);
  if (!options.since.empty()) {
    PENSTOCK_ASSIGN(const int64_t since, ParseMoment(options.since, "--since"));
    add("since", std::to_string(since));
  }
  if (!options.until.empty()) {
    PENSTOCK_ASSIGN(const int64_t until, ParseMoment(options.until, "--until"));
    add("until", std::to_string(until));
  }
  if (options.by_key) add("by_key", "1");
  add("by", options.by);
  if (!options.by.empty()) add("utc_offset", std::to_string(ZoneHere()));
  return query;
}

Result<int> ShowUsage(const Cloud& cloud, const Options& options) {
  PENSTOCK_ASSIGN(const std::string query, Query(options));
  PENSTOCK_ASSIGN(const auto answer, cloud.Get("/admin/v1/usage" + query));
  if (options.as_json) {
    fmt::print("{}", PrettyJson(answer));
    return 0;
  }
  const json::array& rows = GetArray(answer, "data");
  std::vector<std::string> columns = {"~TEAM",   "~MODEL",  ">REQUESTS", ">INPUT",
                                      ">CACHED", ">OUTPUT", ">CHIP TIME"};
  const bool reported = std::ranges::any_of(
      rows, [](const auto& row) { return GetInt(row.as_object(), "reported_tokens") > 0; });
  if (reported) columns.insert(columns.end() - 1, ">REPORTED");
  if (options.by_key) columns.insert(columns.begin() + 1, "~KEY");
  if (!options.by.empty()) columns.insert(columns.begin(), options.by == "day" ? "DAY" : "HOUR");
  Table table(std::move(columns));
  for (const auto& value : rows) {
    const auto& row = value.as_object();
    std::vector<std::string> cells = {GetText(row, "team"),
                                      GetText(row, "model"),
                                      HumanCount(GetInt(row, "requests")),
                                      HumanCount(GetInt(row, "input_tokens")),
                                      HumanCount(GetInt(row, "cached_input_tokens")),
                                      HumanCount(GetInt(row, "output_tokens")),
                                      HumanSeconds(GetReal(row, "chip_ms") / 1e3)};
    if (reported) cells.insert(cells.end() - 1, HumanCount(GetInt(row, "reported_tokens")));
    if (options.by_key) cells.insert(cells.begin() + 1, GetText(row, "key"));
    if (!options.by.empty()) {
      const std::string since = HumanTime(GetReal(row, "since"));  // "2026-03-01 14:05"
      cells.insert(cells.begin(), options.by == "day" ? since.substr(0, 10) : since);
    }
    table.Row(std::move(cells));
  }
  fmt::print("{}", table.empty() ? "no usage in that time\n" : table.TextForOutput());
  if (reported) {
    fmt::print(
        "\nREPORTED: output tokens of attached engines, as counted by their servers (docs/chips.md).\n");
  }
  return 0;
}

void PrintTrail(const json::object& request) {
  const double opened = GetReal(request, "opened");
  for (const auto& value : GetArray(request, "trail")) {
    const auto& event = value.as_object();
    fmt::print("  {:+9.3f} s  {:14} {}\n", GetReal(event, "at") - opened, GetText(event, "kind"),
               GetText(event, "why"));
  }
}

Result<int> ShowRequest(const Cloud& cloud, const Options& options) {
  PENSTOCK_ASSIGN(const auto request, cloud.Get("/admin/v1/requests/" + UrlEscape(options.request)));
  if (options.as_json) {
    fmt::print("{}", PrettyJson(request));
    return 0;
  }
  const auto& usage = GetObject(request, "usage");
  const std::string outcome = GetText(request, "outcome"), detail = GetText(request, "detail");
  fmt::print("{}\n", GetText(request, "id"));
  fmt::print("  team {}, key {}, model {}\n", GetText(request, "team"), GetText(request, "key"),
             GetText(request, "model"));
  fmt::print("  opened {}: {}{}\n", HumanTime(GetReal(request, "opened")),
             outcome.empty() ? "still running" : "ended as " + outcome,
             detail.empty() ? "" : " (" + detail + ")");
  fmt::print("  billed: {} prompt tokens ({} cached) and {} output tokens\n", GetInt(usage, "prompt_tokens"),
             GetInt(GetObject(usage, "prompt_tokens_details"), "cached_tokens"),
             GetInt(usage, "completion_tokens"));
  if (GetText(request, "exact_usage") != "yes") {
    fmt::print("          {} of the output tokens as counted by an attached engine's server\n",
               GetInt(request, "reported_tokens"));
  }
  fmt::print("  cost:   {} tokens emitted, {} computed, {} of chip time\n", GetInt(request, "emitted_tokens"),
             GetInt(request, "computed_tokens"), HumanSeconds(GetReal(request, "chip_ms") / 1e3));
  PrintTrail(request);
  return 0;
}

}  // namespace

void AddUsageCommand(CLI::App& app, Cli& cli) {
  auto options = std::make_shared<Options>();
  CLI::App* usage = app.add_subcommand("usage", "Show what each team used, or the trace of one request");
  usage->add_option("--request", options->request, "one request, by its x-request-id");
  usage->add_option("--team", options->team, "only this team")->type_name("TEAM");
  usage->add_option("--model", options->model, "only this model")->type_name("MODEL");
  usage->add_option("--for-key", options->key, "only this key: its id, or its prefix as `key ls` shows it");
  usage->add_option("--since", options->since, "a time ago (24h) or a day (2026-03-01); default: no limit");
  usage->add_option("--until", options->until, "a time ago or a day; default: now");
  usage->add_flag("--by-key", options->by_key, "one row for each key");
  usage->add_option("--by", options->by, "one row for each hour or day, in this machine's time zone")
      ->check(OneOf({"hour", "day"}))
      ->type_name("hour|day");
  usage->add_flag("--json", options->as_json, "print JSON");
  usage->footer(
      "Example:\n  penstock usage --since 24h --by-key\n  penstock usage --since 7d --by day\n  penstock "
      "usage --request req_0123456789");
  usage->callback([&cli, options] {
    cli.run = [options](const LoadedConfig& loaded) -> Result<int> {
      PENSTOCK_ASSIGN(const Cloud cloud, Cloud::Open(loaded.config));
      return options->request.empty() ? ShowUsage(cloud, *options) : ShowRequest(cloud, *options);
    };
  });
}

}  // namespace penstock
