// The penstock program: parses the command line, loads the settings and runs the chosen command.
#include "app/commands/commands.h"
#include "app/settings/table.h"

namespace penstock {
namespace {

// Every setting is a flag of every command; --help shows only the ones that are used often.
void AddSettings(CLI::App& app, Cli& cli) {
  app.add_option("--config", cli.input.file, "read settings from this file")
      ->type_name("FILE")
      ->group("Settings");
  for (const auto& setting : Settings()) {
    const std::string name(setting.name);
    const bool shown = name == "data" || name == "url" || name == "key" || name == "listen";
    if (setting.toggle) {
      app.add_flag_function(
             setting.Flag(),
             [&cli, name](int64_t count) { cli.input.flags[name] = count > 0 ? "true" : "false"; },
             std::string(setting.help))
          ->group("");
      continue;
    }
    app.add_option_function<std::string>(
           setting.Flag(), [&cli, name](const std::string& text) { cli.input.flags[name] = text; },
           std::string(setting.help))
        ->type_name(std::string(setting.value))
        ->group(shown ? "Settings" : "");
  }
  app.add_option_function<std::vector<std::string>>(
         "--set",
         [&cli](const std::vector<std::string>& pairs) {
           for (const auto& pair : pairs) {
             const size_t equals = std::min(pair.find('='), pair.size());
             cli.input.flags[pair.substr(0, equals)] = pair.substr(std::min(equals + 1, pair.size()));
           }
         },
         "set any setting by name; `penstock config` lists them")
      ->type_name("NAME=VALUE")
      ->allow_extra_args(false)
      ->group("Settings");
}

// What other programs have as commands, too.
void AddHelpCommands(CLI::App& app, Cli& cli) {
  app.add_subcommand("version", "Print the version")
      ->footer("Example:\n  penstock version")
      ->callback([&cli] {
        cli.run = [](const LoadedConfig&) -> Result<int> {
          fmt::print("penstock {}\n", PENSTOCK_VERSION);
          return 0;
        };
      });
  auto words = std::make_shared<std::vector<std::string>>();
  CLI::App* help = app.add_subcommand("help", "Describe a command");
  help->add_option("command", *words, "the command; none: penstock itself");
  help->footer("Example:\n  penstock help model pull");
  help->callback([&app, &cli, words] {
    cli.run = [&app, words](const LoadedConfig&) -> Result<int> {
      const CLI::App* command = &app;
      std::string name = app.get_name();
      for (const std::string& word : *words) {
        const auto found =
            command->get_subcommands([&](const CLI::App* one) { return one->get_name() == word; });
        const CLI::App* const sub = found.empty() ? nullptr : found.front();
        if (sub == nullptr) {
          fmt::print(stderr, "penstock: there is no command '{}'\nSee `penstock --help`.\n", word);
          return 2;
        }
        command = sub;
        name += " " + word;
      }
      fmt::print("{}", app.get_formatter()->make_help(command, name, CLI::AppFormatMode::Normal));
      return 0;
    };
  });
}

int Run(int argc, char** argv) {
  CLI::App app("Penstock turns this machine's chips into a private AI cloud for several teams.", "penstock");
  app.set_version_flag("--version", "penstock " PENSTOCK_VERSION);
  app.require_subcommand(1);
  app.fallthrough();
  app.footer(
      "Quick start:\n"
      "  penstock model pull smollm2-135m\n"
      "  penstock up\n"
      "  penstock chat smollm2-135m \"Why is the sky blue?\"\n\n"
      "`penstock COMMAND --help` describes each command with an example.");
  Cli cli;
  AddSettings(app, cli);
  AddUpCommand(app, cli);
  AddLoginCommands(app, cli);
  AddStatusCommand(app, cli);
  AddModelCommands(app, cli);
  AddChatCommand(app, cli);
  AddTeamCommands(app, cli);
  AddConnectCommand(app, cli);
  AddUsageCommand(app, cli);
  AddDoctorCommand(app, cli);
  AddErrorsCommand(app, cli);
  AddLogCommand(app, cli);
  AddEngineCommands(app, cli);
  AddBackupCommands(app, cli);
  AddConfigCommand(app, cli);
  AddHiddenCommands(app, cli);
  AddManualCommands(app, cli);
  AddHelpCommands(app, cli);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    fmt::print(stderr, "penstock: {}\n", MistakeText(app, error));
    return 2;
  }
  const auto loaded = LoadConfig(cli.input);
  const Result<int> status = loaded.has_value() ? cli.run(*loaded) : std::unexpected(loaded.error());
  if (status.has_value()) return *status;
  fmt::print(stderr, "penstock: {}\n", Worded(status.error()));
  return loaded.has_value() ? 1 : 2;  // a wrong setting is a mistake in usage
}

}  // namespace
}  // namespace penstock

int main(int argc, char** argv) {
  return penstock::Run(argc, argv);
}
