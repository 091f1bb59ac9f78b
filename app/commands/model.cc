// `penstock model …`: downloads, lists, loads and removes models.
#include <filesystem>

#include "app/client/cloud.h"
#include "app/commands/commands.h"
#include "app/commands/model_parts.h"
#include "app/common/ask.h"
#include "app/common/data_dir.h"
#include "app/common/json_get.h"
#include "app/common/progress.h"
#include "app/common/table.h"
#include "app/machine/machine.h"
#include "app/models/model_store.h"
#include "app/models/pull.h"
#include "app/settings/units.h"

namespace penstock {
namespace json = boost::json;
namespace {

using namespace model_command;

using Shared = std::shared_ptr<Options>;
using Action = Result<int> (*)(const Place&, const Options&);

void OnChosen(CLI::App* command, Cli& cli, const Shared& options, Action action) {
  command->callback([&cli, options, action] {
    cli.run = [options, action](const LoadedConfig& loaded) -> Result<int> {
      PENSTOCK_ASSIGN(const DataDir data, DataDir::Open(loaded.config.data));
      ModelStore store(data, loaded.config.Runs("ggml"));
      return action({loaded.config, data, store}, *options);
    };
  });
}

int Installed(const Manifest& manifest, const Config& config, const Options& options) {
  if (options.as_json) {
    fmt::print("{}", PrettyJson(json::object{{"name", manifest.name}, {"bytes", manifest.Bytes()}}));
  } else {
    fmt::print("Installed {}: {} {}, {}{}\n", manifest.name, manifest.facts.architecture,
               manifest.facts.quantisation, HumanBytes(manifest.Bytes()),
               manifest.note.empty() ? "" : " (" + manifest.note + ")");
    std::fflush(stdout);
  }
  AnnounceToCloud(config, manifest.name);
  return 0;
}

Result<int> PullModel(const Place& place, const Options& options) {
  if (options.what.empty()) return ListCatalogue(place, options);
  // What is installed already is what was asked for, so that guides can be followed twice.
  if (const auto existing = place.store.Find(options.what);
      existing.has_value() && options.name.empty() && !options.repin && options.sha256.empty()) {
    if (options.as_json) {
      fmt::print("{}", PrettyJson(json::object{{"name", existing->name}, {"bytes", existing->Bytes()}}));
    } else {
      fmt::print("{} is installed already; nothing was downloaded.\n", existing->name);
    }
    return 0;
  }
  PullRequest request{.what = options.what,
                      .name = options.name,
                      .sha256 = options.sha256,
                      .repin = options.repin,
                      .anyway = options.anyway,
                      .machine = LookAtMachine(place.config, place.data),
                      .context = options.context};
  if (options.context > 0) request.machine.context = options.context;
  if (!options.kv.empty()) {
    PENSTOCK_ASSIGN(const uint64_t kv, ParseBytes(options.kv));
    request.kv_bytes = static_cast<int64_t>(kv);
    request.machine.kv_memory = kv;
  }
  PENSTOCK_ASSIGN(const Manifest manifest,
                  Pull(request, place.config.pull, place.store,
                       [](const std::string& line) { fmt::print(stderr, "{}\n", line); }));
  return Installed(manifest, place.config, options);
}

std::string NameFromPath(const std::string& path) {
  const std::filesystem::path at = std::filesystem::path(path).lexically_normal();
  std::string name = at.has_filename() ? at.filename().string() : at.parent_path().filename().string();
  if (name.ends_with(".gguf")) name.resize(name.size() - 5);
  return name;
}

Result<int> ImportModel(const Place& place, const Options& options) {
  NewModel model{.name = options.name.empty() ? NameFromPath(options.what) : options.name};
  model.source = std::filesystem::absolute(options.what).lexically_normal().string();
  model.context = options.context;
  if (!options.kv.empty()) {
    PENSTOCK_ASSIGN(const uint64_t kv, ParseBytes(options.kv));
    model.kv_bytes = static_cast<int64_t>(kv);
  }
  Progress progress("checking " + model.name);
  auto manifest = place.store.Import(model, options.what,
                                     [&](uint64_t done, uint64_t total) { progress.Update(done, total); });
  progress.Finish();
  if (!manifest.has_value()) return std::unexpected(manifest.error());
  for (const auto& line : FitOf(*manifest, place)) fmt::print(stderr, "{}\n", line);
  return Installed(*manifest, place.config, options);
}

Result<int> RemoveModel(const Place& place, const Options& options) {
  const Config& config = place.config;
  PENSTOCK_TRY(place.store.Find(options.what));
  const bool runs = CloudRuns(config);
  const auto states = StatesIfRunning(config);
  if (const auto state = states.find(options.what);
      state != states.end() && (state->second.state == "ready" || state->second.state == "loading")) {
    const std::string question =
        fmt::format("The running cloud serves '{}'. Remove it? Requests to it will fail.", options.what);
    if (const auto status = Declined(question, options.yes)) return *status;
  }
  if (runs) {
    PENSTOCK_ASSIGN(const Cloud cloud, Cloud::OpenLocal(config));
    const auto unloaded = cloud.Post("/admin/v1/models/" + UrlEscape(options.what) + "/unload", {});
    if (!unloaded.has_value() && unloaded.error().code != Code::kNotFound)
      return std::unexpected(unloaded.error());
  }
  PENSTOCK_TRY(place.store.Remove(options.what));
  if (runs) {
    PENSTOCK_ASSIGN(const Cloud cloud, Cloud::OpenLocal(config));
    PENSTOCK_TRY(cloud.Post("/admin/v1/models/rescan", {}));
  }
  fmt::print("Removed {}.\n", options.what);
  return 0;
}

// ---- load and unload -------------------------------------------------------------------------------

Result<int> LoadModel(const Place& place, const Options& options) {
  PENSTOCK_ASSIGN(const Cloud cloud, Cloud::Open(place.config));
  if (!cloud.endpoint().login) PENSTOCK_TRY(place.store.Find(options.what));
  PENSTOCK_TRY(cloud.Post("/admin/v1/models/rescan", {}));
  PENSTOCK_TRY(cloud.Post("/admin/v1/models/" + UrlEscape(options.what) + "/load", {}));
  PENSTOCK_ASSIGN(const double seconds, WaitUntilReady(cloud, options.what));
  fmt::print("{} is ready after {:.1f} s\n", options.what, seconds);
  return 0;
}

Result<int> UnloadModel(const Place& place, const Options& options) {
  PENSTOCK_ASSIGN(const Cloud cloud, Cloud::Open(place.config));
  PENSTOCK_TRY(cloud.Post("/admin/v1/models/" + UrlEscape(options.what) + "/unload", {}));
  fmt::print("Unloaded {}; it is still installed.\n", options.what);
  return 0;
}

void AddLimits(CLI::App* command, const Shared& options) {
  command->add_option("--name", options->name, "the name that clients send as \"model\"");
  command->add_option("--context", options->context, "limit on its context, in tokens")->check(Count());
  command->add_option("--kv", options->kv, "memory for its KV cache, such as 2GiB")
      ->type_name("BYTES")
      ->check(Size());
  command->add_flag("--json", options->as_json, "print JSON");
}

}  // namespace

void AddModelCommands(CLI::App& app, Cli& cli) {
  auto options = std::make_shared<Options>();
  CLI::App* model = app.add_subcommand("model", "Download, list, load and remove models");
  model->require_subcommand(1);
  model->footer("Example:\n  penstock model pull smollm2-135m");

  CLI::App* pull = model->add_subcommand("pull", "Download a model; without a name, list the catalogue");
  pull->add_option("what", options->what, "a catalogue name, hf:ORG/REPO/FILE.gguf, or an http(s) URL")
      ->type_name("SOURCE");
  AddLimits(pull, options);
  pull->add_option("--sha256", options->sha256, "the SHA-256 that the file must have");
  pull->add_flag("--repin", options->repin,
                 "accept the hub's current file even if it changed since the first pull");
  pull->add_flag("--anyway", options->anyway, "download it even if it does not fit this machine");
  pull->footer(
      "Example:\n  penstock model pull\n  penstock model pull smollm2-135m\n"
      "  penstock model pull hf:Qwen/Qwen3-0.6B-GGUF/Qwen3-0.6B-Q8_0.gguf --name qwen3");
  OnChosen(pull, cli, options, PullModel);

  CLI::App* import = model->add_subcommand("import", "Install a GGUF file or a Hugging Face folder");
  import->add_option("path", options->what, "the file or folder")->required()->type_name("PATH");
  AddLimits(import, options);
  import->footer("Example:\n  penstock model import ./my-model.gguf --name my-model");
  OnChosen(import, cli, options, ImportModel);

  CLI::App* list = model->add_subcommand("ls", "List the installed models and their state");
  list->add_flag("--catalogue", options->catalogue,
                 "list the catalogue instead, and which models fit this machine");
  list->add_flag("--guarantees", options->guarantees, "show what the engines guarantee for each model");
  list->add_flag("--json", options->as_json, "print JSON");
  list->footer("Example:\n  penstock model ls\n  penstock model ls --catalogue");
  OnChosen(list, cli, options, ListModels);

  CLI::App* show = model->add_subcommand("show", "Show everything that is known about a model");
  show->add_option("name", options->what, "name of the model")->required()->type_name("MODEL");
  show->add_flag("--verify", options->verify, "read every file and compare its SHA-256");
  show->add_flag("--json", options->as_json, "print JSON");
  show->footer("Example:\n  penstock model show smollm2-135m --verify");
  OnChosen(show, cli, options, ShowModel);

  CLI::App* load =
      model->add_subcommand("load", "Load a model in the running cloud, and wait until it is ready");
  load->add_option("name", options->what, "name of the model")->required()->type_name("MODEL");
  load->footer("Example:\n  penstock model load smollm2-135m");
  OnChosen(load, cli, options, LoadModel);

  CLI::App* unload = model->add_subcommand("unload", "Free a model's memory; it stays installed");
  unload->add_option("name", options->what, "name of the model")->required()->type_name("MODEL");
  unload->footer("Example:\n  penstock model unload smollm2-135m");
  OnChosen(unload, cli, options, UnloadModel);

  CLI::App* remove = model->add_subcommand("rm", "Remove a model from this machine");
  remove->add_option("name", options->what, "name of the model")->required()->type_name("MODEL");
  remove->add_flag("--yes", options->yes, "do not ask, even if the running cloud serves it");
  remove->footer("Example:\n  penstock model rm smollm2-135m");
  OnChosen(remove, cli, options, RemoveModel);
}

}  // namespace penstock
