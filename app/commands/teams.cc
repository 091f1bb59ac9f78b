// `penstock team …` and `penstock key …`.
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>

#include "app/client/cloud.h"
#include "app/commands/commands.h"
#include "app/common/ask.h"
#include "app/common/http.h"
#include "app/common/json_get.h"
#include "app/common/table.h"
#include "app/settings/units.h"
#include "base/nearest.h"

namespace penstock {
namespace json = boost::json;
namespace {

struct Options {
  bool as_json = false, yes = false;
  std::string team, name, new_name, role, key, expires, overlap, external;
  std::vector<std::string> models;
};
using Shared = std::shared_ptr<Options>;
using Action = Result<int> (*)(const Cloud&, const Options&);

void OnChosen(CLI::App* command, Cli& cli, const Shared& options, Action action) {
  command->callback([&cli, options, action] {
    cli.run = [options, action](const LoadedConfig& loaded) -> Result<int> {
      PENSTOCK_ASSIGN(const Cloud cloud, Cloud::Open(loaded.config));
      return action(cloud, *options);
    };
  });
}

// ---- teams -----------------------------------------------------------------------------------------

std::string PathOf(const std::string& team) {
  return "/admin/v1/teams/" + UrlEscape(team);
}

// A team that exists already is what was asked for, so that guides can be followed twice.
Result<int> CreateTeam(const Cloud& cloud, const Options& options) {
  auto team = cloud.Post("/admin/v1/teams", {{"name", options.name}});
  const bool created = team.has_value();
  if (!created && team.error().code == Code::kConflict) {
    const auto existing = cloud.Get(PathOf(options.name));
    if (existing.has_value() && GetInt(*existing, "removed") == 0) team = *existing;
  }
  if (!team.has_value()) return std::unexpected(team.error());
  const std::string name = GetText(*team, "name");
  if (options.as_json) {
    fmt::print("{}", PrettyJson(*team));
  } else {
    fmt::print("{} To create a key for it: penstock key create --team {}\n",
               created ? fmt::format("Created team '{}'.", name)
                       : fmt::format("Team '{}' exists already; nothing was changed.", name),
               ShellWord(name));
  }
  return 0;
}

Result<int> RenameTeam(const Cloud& cloud, const Options& options) {
  PENSTOCK_ASSIGN(const auto team, cloud.Post(PathOf(options.name), {{"name", options.new_name}}));
  if (options.as_json) {
    fmt::print("{}", PrettyJson(team));
  } else {
    fmt::print("Team '{}' is now '{}'. Its keys work as before, and its usage is shown under the new name.\n",
               options.name, GetText(team, "name"));
  }
  return 0;
}

int64_t WorkingKeys(const json::object& keys);

Result<int> RemoveTeam(const Cloud& cloud, const Options& options) {
  PENSTOCK_ASSIGN(const auto team, cloud.Get(PathOf(options.name)));
  const std::string name = GetText(team, "name");
  PENSTOCK_ASSIGN(const auto keys, cloud.Get("/admin/v1/keys?team=" + UrlEscape(name)));
  const int64_t working = WorkingKeys(keys);
  const std::string question = fmt::format(
      "Remove team '{}'? {} stop working at once, and running requests end with an error. Usage records "
      "stay, "
      "so the name cannot be used again.",
      name, working == 1 ? "Its key will" : fmt::format("Its {} keys will", working));
  if (const auto status = Declined(question, options.yes)) return *status;
  PENSTOCK_ASSIGN(const auto removed, cloud.Delete(PathOf(name)));
  if (options.as_json) {
    fmt::print("{}", PrettyJson(removed));
  } else {
    fmt::print("Removed team '{}' and revoked {} of its keys. Its usage is still in `penstock usage`.\n",
               name, working);
  }
  return 0;
}

Result<int> ShowTeam(const Cloud& cloud, const Options& options) {
  PENSTOCK_ASSIGN(auto team, cloud.Get(PathOf(options.name)));
  const std::string query = "?team=" + UrlEscape(GetText(team, "name"));
  PENSTOCK_ASSIGN(const auto keys, cloud.Get("/admin/v1/keys" + query));
  PENSTOCK_ASSIGN(const auto usage, cloud.Get("/admin/v1/usage" + query));
  int64_t requests = 0, input = 0, output = 0;
  for (const auto& value : GetArray(usage, "data")) {
    const auto& row = value.as_object();
    requests += GetInt(row, "requests");
    input += GetInt(row, "input_tokens");
    output += GetInt(row, "output_tokens");
  }
  if (options.as_json) {
    team["keys"] = WorkingKeys(keys);
    team["requests"] = requests;
    team["input_tokens"] = input;
    team["output_tokens"] = output;
    fmt::print("{}", PrettyJson(team));
    return 0;
  }
  fmt::print("team       {} (id {})\n", GetText(team, "name"), GetInt(team, "id"));
  fmt::print("created    {}\n", HumanTime(GetReal(team, "created")));
  if (GetInt(team, "removed") > 0) fmt::print("removed    {}\n", HumanTime(GetReal(team, "removed")));
  fmt::print("external   {}\n", GetBool(team, "external") ? "allowed" : "no");
  fmt::print("keys       {} that work\n", WorkingKeys(keys));
  fmt::print("usage      {} requests, {} input and {} output tokens\n", HumanCount(requests),
             HumanCount(input), HumanCount(output));
  return 0;
}

Result<int> SetTeam(const Cloud& cloud, const Options& options) {
  const bool external = options.external == "yes";
  PENSTOCK_ASSIGN(const auto team, cloud.Post(PathOf(options.name), {{"external", external}}));
  if (options.as_json) {
    fmt::print("{}", PrettyJson(team));
  } else {
    fmt::print("Team '{}': its requests {} be sent to engines outside the organisation.\n", options.name,
               external ? "may" : "will not");
  }
  return 0;
}

Result<int> ListTeams(const Cloud& cloud, const Options& options) {
  PENSTOCK_ASSIGN(const auto answer, cloud.Get("/admin/v1/teams"));
  if (options.as_json) {
    fmt::print("{}", PrettyJson(answer));
    return 0;
  }
  Table table({"~TEAM", ">ID", "CREATED", "EXTERNAL"});
  for (const auto& value : GetArray(answer, "data")) {
    const auto& team = value.as_object();
    table.Row({GetText(team, "name"), std::to_string(GetInt(team, "id")), HumanTime(GetReal(team, "created")),
               GetBool(team, "external") ? "allowed" : "no"});
  }
  fmt::print("{}", table.empty() ? "no teams yet: penstock team create NAME\n" : table.TextForOutput());
  return 0;
}

// ---- keys ------------------------------------------------------------------------------------------

int ShowCreated(const json::object& created, const Options& options, std::string_view words) {
  if (options.as_json) {
    fmt::print("{}", PrettyJson(created));
    return 0;
  }
  fmt::print(stderr, "{} The secret is shown only once:\n", words);
  fmt::print("{}\n", GetText(created, "secret"));
  return 0;
}

// "30d" from now, or the end of "2026-12-31" in local time → Unix seconds. Errors complete "--expires …".
Result<int64_t> ParseExpiry(const std::string& text) {
  const int64_t now = SystemClock().Wall() / kSecond;
  tm day{};
  if (const char* end = strptime(text.c_str(), "%Y-%m-%d", &day); end != nullptr && *end == '\0') {
    tm next = day;
    next.tm_isdst = -1;
    next.tm_mday += 1;
    const auto end_of_day = static_cast<int64_t>(mktime(&next));
    const time_t before = end_of_day - 1;
    tm last{};
    localtime_r(&before, &last);
    if (last.tm_mday != day.tm_mday)
      return Fail(Code::kInvalid, "must be a day of the calendar, not '{}'", text);
    if (end_of_day <= now) return Fail(Code::kInvalid, "must be in the future, not '{}'", text);
    return end_of_day;
  }
  const auto after = ParseDuration(text);
  const bool unit = !text.empty() && std::isalpha(static_cast<unsigned char>(text.back())) != 0;
  if (after.has_value() && unit && *after > 0) return now + *after / kSecond;
  return Fail(Code::kInvalid,
              "must be a time with its unit, such as 90d or 12h, or a day such as 2026-12-31, not '{}'",
              text);
}

// A key whose models are misspelt could use nothing. Roles that may not see models are not checked.
Status CheckModels(const Cloud& cloud, const std::vector<std::string>& models) {
  if (models.empty()) return {};
  const auto served = cloud.Get("/v1/models");  // with the names of families
  const auto live = cloud.Get("/v1/live");      // with the models that are not loaded
  if (!served.has_value() || !live.has_value()) return {};
  std::set<std::string> names;
  for (const auto& value : GetArray(*served, "data")) names.insert(GetText(value.as_object(), "id"));
  for (const auto& value : GetArray(*live, "models")) names.insert(GetText(value.as_object(), "name"));
  const std::vector<std::string> known(names.begin(), names.end());
  for (const std::string& model : models) {
    if (std::ranges::find(known, model) != known.end()) continue;
    return Fail(Reason::kModelNotInstalled, "--model: there is no model '{}'{}; there are: {}", model,
                DidYouMean(model, known), known.empty() ? "none" : fmt::format("{}", fmt::join(known, ", ")));
  }
  return {};
}

Result<int> CreateKey(const Cloud& cloud, const Options& options) {
  PENSTOCK_TRY(CheckModels(cloud, options.models));
  json::object body;
  if (!options.team.empty()) body["team"] = options.team;
  if (!options.name.empty()) body["name"] = options.name;
  if (!options.role.empty()) body["role"] = options.role;
  if (!options.models.empty()) body["models"] = json::value_from(options.models);
  if (!options.expires.empty()) {
    PENSTOCK_ASSIGN(body["expires"], ParseExpiry(options.expires));
  }
  PENSTOCK_ASSIGN(const auto created, cloud.Post("/admin/v1/keys", body));
  const std::string owner = options.team.empty() ? "" : fmt::format(" of team '{}'", options.team);
  const double expires = GetReal(created, "expires");
  return ShowCreated(
      created, options,
      fmt::format("Created a key{}{}.", owner, expires > 0 ? ", valid until " + HumanTime(expires) : ""));
}

std::string StateOf(const json::object& key) {
  if (GetReal(key, "revoked") > 0) return "revoked";
  const double expires = GetReal(key, "expires");
  const bool past = expires > 0 && expires * 1e9 <= static_cast<double>(SystemClock().Wall());
  return past ? "expired" : "active";
}

int64_t WorkingKeys(const json::object& keys) {
  const auto& all = GetArray(keys, "data");
  return std::ranges::count_if(all, [](const auto& key) { return StateOf(key.as_object()) == "active"; });
}

std::string Joined(const json::array& names) {
  std::string out;
  for (const auto& name : names) out += (out.empty() ? "" : ", ") + std::string(name.as_string());
  return out.empty() ? "all" : out;
}

Result<int> ListKeys(const Cloud& cloud, const Options& options) {
  const std::string query = options.team.empty() ? "" : "?team=" + UrlEscape(options.team);
  PENSTOCK_ASSIGN(const auto answer, cloud.Get("/admin/v1/keys" + query));
  if (options.as_json) {
    fmt::print("{}", PrettyJson(answer));
    return 0;
  }
  Table table({">ID", "KEY", "~TEAM", "~NAME", "ROLE", "~MODELS", "STATE", "CREATED", "EXPIRES"});
  for (const auto& value : GetArray(answer, "data")) {
    const auto& key = value.as_object();
    table.Row({std::to_string(GetInt(key, "id")), GetText(key, "prefix") + "…", GetText(key, "team"),
               GetText(key, "name"), GetText(key, "role"), Joined(GetArray(key, "models")), StateOf(key),
               HumanTime(GetReal(key, "created")), HumanTime(GetReal(key, "expires"))});
  }
  fmt::print("{}", table.empty() ? "no keys yet: penstock key create --team NAME\n" : table.TextForOutput());
  return 0;
}

Result<int> RotateKey(const Cloud& cloud, const Options& options) {
  const auto overlap = ParseDuration(options.overlap);
  if (!overlap.has_value()) {
    return Fail(Code::kInvalid, "--overlap must be a time such as 24h, or 0 for none, not '{}'",
                options.overlap);
  }
  const json::object body = {{"overlap", *overlap / kSecond}};
  PENSTOCK_ASSIGN(const auto created,
                  cloud.Post("/admin/v1/keys/" + UrlEscape(options.key) + "/rotate", body));
  const auto& old = GetObject(created, "old");
  return ShowCreated(created, options,
                     *overlap == 0
                         ? "Created a new secret; the old one takes no more requests."
                         : fmt::format("Created a new secret; the old one works until {} (to revoke it "
                                       "earlier: penstock key revoke {}).",
                                       HumanTime(GetReal(old, "expires")), GetInt(old, "id")));
}

Result<int> RevokeKey(const Cloud& cloud, const Options& options) {
  PENSTOCK_ASSIGN(const auto answer, cloud.Delete("/admin/v1/keys/" + UrlEscape(options.key)));
  if (options.as_json) {
    fmt::print("{}", PrettyJson(answer));
  } else {
    fmt::print("Revoked key {}.\n", options.key);
  }
  return 0;
}

void AddKeyCommands(CLI::App& app, Cli& cli, const Shared& options) {
  CLI::App* key = app.add_subcommand("key", "Create, list, rotate and revoke keys");
  key->require_subcommand(1);
  key->footer("Example:\n  penstock key create --team research");

  CLI::App* create = key->add_subcommand("create", "Create a key; its secret is shown only once");
  create->add_option("--team", options->team, "the team that owns it (an operator key has no team)")
      ->type_name("TEAM");
  create->add_option("--name", options->name, "a name that distinguishes it from other keys");
  create->add_option("--role", options->role, "developer (default), team_lead, finance or operator")
      ->check(OneOf({"developer", "team_lead", "finance", "operator"}));
  create->add_option("--model", options->models, "a model that it may use; repeat for more (default: all)")
      ->type_name("MODEL")
      ->allow_extra_args(false);
  create->add_option("--expires", options->expires, "expires after a time (90d) or on a day (2026-12-31)")
      ->type_name("TIME")
      ->check(CLI::Validator(
          [](const std::string& text) {
            const auto parsed = ParseExpiry(text);
            return parsed ? std::string() : parsed.error().message;
          },
          ""));
  create->add_flag("--json", options->as_json, "print JSON");
  create->footer(
      "Example:\n  penstock key create --team research --name ci --model smollm2-135m --expires 90d");
  OnChosen(create, cli, options, CreateKey);

  CLI::App* list = key->add_subcommand("ls", "List keys, without their secrets");
  list->add_option("--team", options->team, "only keys of this team")->type_name("TEAM");
  list->add_flag("--json", options->as_json, "print JSON");
  list->footer("Example:\n  penstock key ls --team research");
  OnChosen(list, cli, options, ListKeys);

  CLI::App* rotate = key->add_subcommand("rotate", "Create a new secret for a key");
  rotate->add_option("key", options->key, "the key's id, or its prefix as `key ls` shows it")->required();
  options->overlap = "24h";
  rotate->add_option("--overlap", options->overlap,
                     "how long the old secret still works (default 24h; 0: revoke it now, if it leaked)");
  rotate->add_flag("--json", options->as_json, "print JSON");
  rotate->footer("Example:\n  penstock key rotate 3\n  penstock key rotate 3 --overlap 0");
  OnChosen(rotate, cli, options, RotateKey);

  CLI::App* revoke = key->add_subcommand("revoke", "Revoke a key immediately");
  revoke->add_option("key", options->key, "the key's id, or its prefix as `key ls` shows it")->required();
  revoke->add_flag("--json", options->as_json, "print JSON");
  revoke->footer("Example:\n  penstock key revoke 3");
  OnChosen(revoke, cli, options, RevokeKey);
}

}  // namespace

void AddTeamCommands(CLI::App& app, Cli& cli) {
  auto options = std::make_shared<Options>();
  CLI::App* team = app.add_subcommand("team", "Create, list, change and remove teams");
  team->require_subcommand(1);
  team->footer("Example:\n  penstock team create research");

  CLI::App* create = team->add_subcommand("create", "Create a team, unless it exists");
  create->add_option("name", options->name, "name of the team")->required();
  create->add_flag("--json", options->as_json, "print JSON");
  create->footer("Example:\n  penstock team create research");
  OnChosen(create, cli, options, CreateTeam);

  CLI::App* set = team->add_subcommand("set", "Set where a team's requests may be sent");
  set->add_option("name", options->name, "name of the team")->required();
  set->add_option("--external", options->external,
                  "whether they may go to engines outside the organisation: yes or no")
      ->required()
      ->check(OneOf({"yes", "no"}));
  set->add_flag("--json", options->as_json, "print JSON");
  set->footer("Example:\n  penstock team set research --external yes");
  OnChosen(set, cli, options, SetTeam);

  CLI::App* list = team->add_subcommand("ls", "List teams");
  list->add_flag("--json", options->as_json, "print JSON");
  list->footer("Example:\n  penstock team ls");
  OnChosen(list, cli, options, ListTeams);

  CLI::App* show =
      team->add_subcommand("show", "Show a team, its keys and its usage, even after it was removed");
  show->add_option("name", options->name, "name of the team")->required()->type_name("TEAM");
  show->add_flag("--json", options->as_json, "print JSON");
  show->footer("Example:\n  penstock team show research");
  OnChosen(show, cli, options, ShowTeam);

  CLI::App* rename = team->add_subcommand("rename", "Rename a team; its keys and usage records stay with it");
  rename->add_option("name", options->name, "name of the team")->required()->type_name("TEAM");
  rename->add_option("new-name", options->new_name, "its new name")->required();
  rename->add_flag("--json", options->as_json, "print JSON");
  rename->footer("Example:\n  penstock team rename support helpdesk");
  OnChosen(rename, cli, options, RenameTeam);

  CLI::App* remove = team->add_subcommand("rm", "Remove a team: revokes its keys, keeps its usage records");
  remove->add_option("name", options->name, "name of the team")->required()->type_name("TEAM");
  remove->add_flag("--yes", options->yes, "do not ask");
  remove->add_flag("--json", options->as_json, "print JSON");
  remove->footer("Example:\n  penstock team rm helpdesk --yes");
  OnChosen(remove, cli, options, RemoveTeam);

  AddKeyCommands(app, cli, options);
}

}  // namespace penstock
