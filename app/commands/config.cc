// `penstock config`: every setting, what holds here, and where it came from.
#include "app/commands/commands.h"
#include "app/common/json_get.h"
#include "app/common/table.h"
#include "app/settings/page.h"
#include "app/settings/table.h"

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
  for (const auto& [engine, said] : loaded.config.engines) {
    if (said.empty())
      table.Row({fmt::format("engines.{}", engine), "", loaded.file, "an engine as engine.* says"});
    for (const auto& [setting, value] : said) {
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

}  // namespace

void AddConfigCommand(CLI::App& app, Cli& cli) {
  auto as_json = std::make_shared<bool>(false), markdown = std::make_shared<bool>(false);
  CLI::App* config = app.add_subcommand("config", "Show every setting and where its value came from");
  config->add_flag("--json", *as_json, "as JSON");
  config->add_flag("--markdown", *markdown, "the reference page");
  config->footer("Example:\n  penstock config");
  config->callback([&cli, as_json, markdown] {
    cli.run = [as_json, markdown](const LoadedConfig& loaded) -> Result<int> {
      if (!*markdown) return ShowConfig(loaded, *as_json);
      fmt::print("{}", ConfigurationPage());
      return 0;
    };
  });
}

}  // namespace penstock
