// `penstock backup` and `penstock restore`: write, check and restore backups.
#include <algorithm>

#include "app/backup/backup.h"
#include "app/commands/commands.h"
#include "app/common/json_get.h"
#include "app/common/table.h"
#include "app/models/catalogue.h"

namespace penstock {
namespace {

struct Options {
  std::string path;
  bool weights = false, check = false, as_json = false;
};

boost::json::object Facts(const Backup& backup, const std::string& path) {
  return {{"path", path},
          {"program", backup.program},
          {"created", backup.created},
          {"store_version", backup.store_version},
          {"bytes", backup.Bytes()},
          {"teams", backup.counts.teams},
          {"keys", backup.counts.keys},
          {"requests", backup.counts.requests},
          {"open", backup.counts.open},
          {"input_tokens", backup.counts.input},
          {"output_tokens", backup.counts.output},
          {"weights", backup.weights}};
}

void PrintCounts(const Backup& backup) {
  const StoreCounts& counts = backup.counts;
  fmt::print("  teams     {}\n  keys      {}\n  requests  {}{}\n  tokens    {} in, {} out\n", counts.teams,
             counts.keys, HumanCount(counts.requests),
             counts.open == 0 ? "" : fmt::format(", {} of them open", counts.open), HumanCount(counts.input),
             HumanCount(counts.output));
}

void PrintModels(const Backup& backup) {
  std::string names;
  for (const auto& model : backup.models) names += (names.empty() ? "" : ", ") + model.name;
  if (names.empty()) return;
  fmt::print("  models    {}{}\n", names,
             backup.weights ? ", with weights" : " (names only, without weights)");
}

// Checked before the data directory is opened, because opening would create it.
Status RequireStore(const std::string& data) {
  PENSTOCK_ASSIGN(const StoreVersion store, StoreVersionOf(data));
  if (store.version > 0) return {};
  return Fail(Reason::kNothingToBackUp,
              "nothing to back up in {}: give the cloud's data directory with --data", data);
}

Result<int> BackUp(const LoadedConfig& loaded, const Options& options) {
  PENSTOCK_TRY(RequireStore(loaded.config.data));
  PENSTOCK_ASSIGN(const DataDir data, DataDir::Open(loaded.config.data));
  PENSTOCK_ASSIGN(
      const Backup backup,
      MakeBackup(data, {.to = options.path, .config_file = loaded.file, .weights = options.weights}));
  if (options.as_json) {
    fmt::print("{}", PrettyJson(Facts(backup, options.path)));
    return 0;
  }
  fmt::print("Wrote backup {}: {} in {} files, read back and checked:\n", options.path,
             HumanBytes(backup.Bytes()), backup.files.size());
  PrintCounts(backup);
  PrintModels(backup);
  fmt::print(
      "\nIt contains the operator key: keep it where only you can read it.\nTo restore it: penstock restore "
      "{} --data DIR\n",
      options.path);
  return 0;
}

void PrintNextSteps(const Backup& backup, const std::string& data) {
  const bool settings =
      std::ranges::find(backup.files, "penstock.toml", &ModelFile::name) != backup.files.end();
  fmt::print("\nStart it:\n  penstock up {}--data {}\n",
             settings ? fmt::format("--config {}/penstock.toml ", data) : "", data);
  if (backup.weights || backup.models.empty()) return;
  fmt::print("\nThe backup does not contain the models' weights. Install the models again first:\n");
  for (const auto& model : backup.models) {
    if (FindKnownModel(model.name) != nullptr) {
      fmt::print("  penstock model pull {} --data {}\n", model.name, data);
    } else {
      fmt::print("  penstock model import {} --name {} --data {}\n", model.source, model.name, data);
    }
  }
}

Result<int> Restore(const LoadedConfig& loaded, const Options& options) {
  const std::string& data = loaded.config.data;
  if (options.check) {
    PENSTOCK_ASSIGN(const Backup backup, CheckBackup(options.path));
    fmt::print("{} is complete and undamaged; made by Penstock {} on {}:\n", options.path, backup.program,
               HumanTime(static_cast<double>(backup.created)));
    PrintCounts(backup);
    PrintModels(backup);
    return 0;
  }
  PENSTOCK_ASSIGN(const Backup backup, RestoreBackup(options.path, data));
  fmt::print("Checked {} and restored it into {}; it was made on {}:\n", options.path, data,
             HumanTime(static_cast<double>(backup.created)));
  PrintCounts(backup);
  if (backup.counts.open > 0)
    fmt::print("  (the first start ends open requests and bills what their clients had received)\n");
  PrintNextSteps(backup, data);
  return 0;
}

void OnChosen(CLI::App* command, Cli& cli, const std::shared_ptr<Options>& options,
              Result<int> (*action)(const LoadedConfig&, const Options&)) {
  command->callback([&cli, options, action] {
    cli.run = [options, action](const LoadedConfig& loaded) { return action(loaded, *options); };
  });
}

}  // namespace

void AddBackupCommands(CLI::App& app, Cli& cli) {
  auto options = std::make_shared<Options>();
  CLI::App* backup =
      app.add_subcommand("backup", "Copy all state into a folder; the cloud may be running or not");
  backup->add_option("folder", options->path, "folder to create; it must not exist yet")->required();
  backup->add_flag("--models", options->weights, "include the models' weights, as links where possible");
  backup->add_flag("--json", options->as_json, "print JSON");
  backup->footer(
      "A backup contains teams, keys, usage, requests, the operator key, the settings and the list of "
      "models,\n"
      "all as of the same moment. It is read back and checked.\n\nExample:\n  penstock backup "
      "penstock-monday");
  OnChosen(backup, cli, options, BackUp);

  CLI::App* restore = app.add_subcommand("restore", "Check a backup and restore it into an empty directory");
  restore->add_option("folder", options->path, "folder that `penstock backup` wrote")->required();
  restore->add_flag("--check", options->check, "only check the backup; restore nothing");
  restore->footer("Example:\n  penstock restore penstock-monday --data again");
  OnChosen(restore, cli, options, Restore);
}

}  // namespace penstock
