// The commands that document the program: `man`, `completion`, and `names`, which completions call.
#include <filesystem>

#include "app/client/cloud.h"
#include "app/command_line/command_tree.h"
#include "app/commands/client_configs.h"
#include "app/commands/commands.h"
#include "app/common/data_dir.h"
#include "app/common/json_get.h"
#include "app/models/catalogue.h"
#include "app/models/model_store.h"

namespace penstock {
namespace {

struct Options {
  std::vector<std::string> words;
  std::string shell, folder, kind;
  bool markdown = false;
};

// Writes every page into a folder, under the names that man expects.
Status WritePages(const std::vector<CommandFacts>& commands, const std::string& folder) {
  for (const auto& command : commands) {
    PENSTOCK_TRY(
        WriteFileAtomically(fmt::format("{}/{}.1", folder, command.Name('-')), ManPage(commands, command)));
  }
  return WriteFileAtomically(folder + "/penstock.toml.5", ConfigManPage());
}

Result<int> Manual(const CLI::App& app, const Options& options) {
  const auto commands = ReadCommands(app);
  if (!options.folder.empty()) {
    PENSTOCK_TRY(WritePages(commands, options.folder));
    return 0;
  }
  if (options.markdown) {
    fmt::print("{}", CommandsPage(commands));
    return 0;
  }
  std::vector<std::string> words = {app.get_name()};
  words.insert(words.end(), options.words.begin(), options.words.end());
  const auto found = std::ranges::find(commands, words, &CommandFacts::words);
  if (found == commands.end()) return Fail(Code::kNotFound, "no such command; `penstock --help` lists them");
  fmt::print("{}", ManPage(commands, *found));
  return 0;
}

Result<int> Completion(const CLI::App& app, const Options& options) {
  const auto commands = ReadCommands(app);
  if (options.shell == "bash") fmt::print("{}", BashCompletion(commands));
  if (options.shell == "zsh") fmt::print("{}", ZshCompletion(commands));
  if (options.shell == "fish") fmt::print("{}", FishCompletion(commands));
  return 0;
}

Result<int> Names(const Config& config, const std::string& kind) {
  if (kind == "SOURCE") {
    for (const auto& model : KnownModels()) fmt::print("{}\n", model.name);
  } else if (kind == "CLIENT") {
    for (const auto& client : ClientConfigs()) fmt::print("{}\n", client.name);
  } else if (kind == "MODEL") {
    PENSTOCK_ASSIGN(const DataDir data, DataDir::Open(config.data));
    for (const auto& manifest : ModelStore(data).List()) fmt::print("{}\n", manifest.name);
  } else {
    PENSTOCK_ASSIGN(const Cloud cloud, Cloud::Open(config));
    PENSTOCK_ASSIGN(const auto answer, cloud.Get("/admin/v1/teams"));
    for (const auto& team : GetArray(answer, "data")) fmt::print("{}\n", GetText(team.as_object(), "name"));
  }
  return 0;
}

}  // namespace

void AddManualCommands(CLI::App& app, Cli& cli) {
  auto options = std::make_shared<Options>();
  CLI::App* man = app.add_subcommand("man", "Print a command's man page");
  man->footer("Example:\n  penstock man model pull");
  man->add_option("command", options->words, "the command; none: penstock itself");
  man->add_flag("--markdown", options->markdown, "print every command, as in docs/commands.md");
  man->add_option("--folder", options->folder, "write every page into this folder");
  man->callback([&app, &cli, options] {
    cli.run = [&app, options](const LoadedConfig&) { return Manual(app, *options); };
  });

  CLI::App* completion = app.add_subcommand("completion", "Print a shell's completion script");
  completion->footer("Example:\n  penstock completion bash");
  completion->add_option("shell", options->shell, "bash, zsh or fish")
      ->required()
      ->check(OneOf({"bash", "zsh", "fish"}));
  completion->callback([&app, &cli, options] {
    cli.run = [&app, options](const LoadedConfig&) { return Completion(app, *options); };
  });

  CLI::App* names = app.add_subcommand("names", "Print the values that a completion offers")->group("");
  names->add_option("kind", options->kind)->required()->check(OneOf({"MODEL", "TEAM", "SOURCE", "CLIENT"}));
  names->callback([&cli, options] {
    cli.run = [options](const LoadedConfig& loaded) { return Names(loaded.config, options->kind); };
  });
}

}  // namespace penstock
