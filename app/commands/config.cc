// `penstock config`: every setting, its current value, and where that value came from.
#include <filesystem>

#include "app/client/cloud.h"
#include "app/commands/commands.h"
#include "app/common/data_dir.h"
#include "app/common/json_get.h"
#include "app/common/table.h"
#include "app/settings/page.h"
#include "app/settings/table.h"
#include "app/settings/toml_edit.h"

namespace penstock {
namespace {

std::string Shown(const Setting& setting, const Config& config) {
  const std::string text = setting.show(config);
  return setting.secret && !text.empty() ? "(set)" : text;
}

int ShowConfig(const LoadedConfig& loaded, bool as_json) {
  Table table({"SETTING", "VALUE", "FROM", "WHAT IT DOES"});
  boost::json::object all;
  for (const auto& setting : Settings()) {
    const auto source = loaded.source.find(setting.name);
    const std::string from = source == loaded.source.end() ? "default" : source->second;
    table.Row({std::string(setting.name), Shown(setting, loaded.config), from, std::string(setting.help)});
    all[setting.name] = boost::json::object{{"value", Shown(setting, loaded.config)}, {"from", from}};
  }
  for (const auto& [engine, own] : loaded.config.engines) {
    if (own.empty())
      table.Row({fmt::format("engines.{}", engine), "", loaded.file, "an engine with the engine.* settings"});
    for (const auto& [setting, value] : own) {
      const std::string name = fmt::format("engines.{}.{}", engine, setting.substr(setting.find('.') + 1));
      const auto source = loaded.source.find(name);
      const std::string from = source == loaded.source.end() ? "" : source->second;
      const Setting& known = *FindSetting(setting);
      const std::string shown = known.secret && !value.empty() ? "(set)" : value;
      table.Row({name, shown, from, std::string(known.help)});
      all[name] = boost::json::object{{"value", shown}, {"from", from}};
    }
  }
  fmt::print("{}", as_json ? PrettyJson(all) : table.Text());
  return 0;
}

// ---- config set ------------------------------------------------------------------------------------

struct Change {
  std::string name, value;
  bool now = false;
};

// An existing file keeps its mode; a new one that holds a secret is readable only by its owner.
unsigned ModeFor(const std::string& path, const Change& change) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!error && std::filesystem::exists(status)) return static_cast<unsigned>(status.permissions()) & 0777;
  const Setting* setting = FindSetting(change.name);
  return setting != nullptr && setting->secret ? 0600 : 0644;
}

// The source that overrides the file; empty: none does.
std::string OverridesFile(const LoadedConfig& loaded, const std::string& name) {
  const auto source = loaded.source.find(name);
  const bool overrides =
      source != loaded.source.end() && (source->second == "environment" || source->second == "flag");
  return overrides ? source->second : "";
}

// Writes the file, so that the next start has the value.
Status Save(const LoadedConfig& loaded, const Change& change, const std::string& path) {
  std::string before;
  if (std::error_code ignored; std::filesystem::exists(path, ignored)) {
    PENSTOCK_ASSIGN(before, ReadTextFile(path));
    if (!before.empty()) before += '\n';
  }
  auto after = WithSetting(before, change.name, change.value);
  if (!after.has_value())
    return std::unexpected(Reworded(after.error(), fmt::format("{}: {}", path, after.error().message)));
  PENSTOCK_TRY(WriteFileAtomically(path, *after, ModeFor(path, change)));
  fmt::print("Set {} in {}.\n", change.name, path);
  if (const std::string over = OverridesFile(loaded, change.name); !over.empty())
    fmt::print(stderr, "penstock: the {} also sets {} here and overrides the file\n", over, change.name);
  return {};
}

// Changes the running cloud, if there is one and the setting can change while it runs.
Status Apply(const LoadedConfig& loaded, const Change& change) {
  const Setting* setting = FindSetting(change.name);
  if (setting == nullptr || setting->apply == nullptr) {
    fmt::print("It takes effect when `penstock up` starts again.\n");
    return {};
  }
  const bool runs = CloudRuns(loaded.config);
  if (!runs && !change.now) {
    fmt::print("No cloud runs here; it takes effect when `penstock up` starts.\n");
    return {};
  }
  PENSTOCK_ASSIGN(const Cloud cloud, runs ? Cloud::OpenLocal(loaded.config) : Cloud::Open(loaded.config));
  PENSTOCK_TRY(cloud.Post("/admin/v1/settings", {{"name", change.name}, {"value", change.value}}));
  fmt::print("The running cloud uses it now.\n");
  return {};
}

Result<int> SetConfig(const LoadedConfig& loaded, const Change& change) {
  Config scratch;
  PENSTOCK_TRY(SetSetting(scratch, change.name, change.value));
  if (!change.now) PENSTOCK_TRY(Save(loaded, change, loaded.file.empty() ? "penstock.toml" : loaded.file));
  PENSTOCK_TRY(Apply(loaded, change));
  return 0;
}

void AddSet(CLI::App& config, Cli& cli) {
  auto change = std::make_shared<Change>();
  CLI::App* set =
      config.add_subcommand("set", "Change one setting: in the configuration file, and in the running cloud");
  set->add_option("name", change->name, "name of the setting")->required()->type_name("NAME");
  set->add_option("value", change->value, "its new value")->required()->type_name("VALUE");
  set->add_flag("--now", change->now, "only in the running cloud, until it stops");
  set->footer(
      "This writes the configuration file that is in use, else ./penstock.toml. Limits, timeouts and "
      "log.level\n"
      "also change in the running cloud immediately; other settings take effect when `penstock up` "
      "restarts.\n\n"
      "Example:\n  penstock config set gateway.queue_timeout 2m");
  set->callback([&cli, change] {
    cli.run = [change](const LoadedConfig& loaded) { return SetConfig(loaded, *change); };
  });
}

}  // namespace

void AddConfigCommand(CLI::App& app, Cli& cli) {
  auto as_json = std::make_shared<bool>(false), markdown = std::make_shared<bool>(false);
  CLI::App* config =
      app.add_subcommand("config", "Show every setting and where its value came from; change one");
  config->add_flag("--json", *as_json, "print JSON");
  config->add_flag("--markdown", *markdown, "print the reference page");
  config->footer("Example:\n  penstock config\n  penstock config set gateway.queue_timeout 2m");
  AddSet(*config, cli);
  config->callback([&cli, config, as_json, markdown] {
    if (!config->get_subcommands().empty()) return;
    cli.run = [as_json, markdown](const LoadedConfig& loaded) -> Result<int> {
      if (!*markdown) return ShowConfig(loaded, *as_json);
      fmt::print("{}", ConfigurationPage());
      return 0;
    };
  });
}

}  // namespace penstock
