// `penstock model …`: what can be had, what is installed, what is served.
#include <unistd.h>

#include <filesystem>
#include <map>

#include "app/client/cloud.h"
#include "app/client/guarantees.h"
#include "app/command_line/cli.h"
#include "app/common/data_dir.h"
#include "app/common/json_get.h"
#include "app/common/progress.h"
#include "app/common/table.h"
#include "app/machine/machine.h"
#include "app/models/catalogue.h"
#include "app/models/model_store.h"
#include "app/models/pull.h"

namespace penstock {
namespace json = boost::json;
namespace {

struct Options {
  std::string what, name, sha256, kv;
  int64_t context = 0;
  bool as_json = false, repin = false, verify = false, anyway = false, catalogue = false, guarantees = false;
};
using Shared = std::shared_ptr<Options>;

// Where a command works: the settings, the data directory and its models.
struct Place {
  const Config& config;
  const DataDir& data;
  ModelStore& store;
};
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

// ---- what the running cloud makes of its models ----------------------------------------------------

struct ServedState {
  std::string state, error;
};

// By name; empty when the cloud does not say.
std::map<std::string, ServedState> StatesOf(const Cloud& cloud) {
  std::map<std::string, ServedState> states;
  if (const auto models = cloud.Get("/admin/v1/models"); models.has_value()) {
    for (const auto& value : GetArray(*models, "data")) {
      const auto& model = value.as_object();
      const std::string error = GetText(model, "error");
      const std::string state = !GetBool(model, "served") ? "unloaded"
                                : GetBool(model, "ready") ? "ready"
                                : error.empty()           ? "loading"
                                                          : "failed";
      states[GetText(model, "name")] = {state, error};
    }
  }
  return states;
}

// Until the cloud answers requests for it; how many seconds that took.
Result<double> WaitUntilReady(const Cloud& cloud, const std::string& name) {
  const Nanos began = SystemClock().Monotonic();
  for (const Nanos give_up = began + 600 * kSecond; SystemClock().Monotonic() < give_up; usleep(100'000)) {
    const auto states = StatesOf(cloud);
    const auto found = states.find(name);
    if (found == states.end()) return Fail(Code::kUnavailable, "the cloud no longer answers");
    if (found->second.state == "failed")
      return Fail(Code::kUnavailable, "{} did not load: {}", name, found->second.error);
    if (found->second.state == "ready") return static_cast<double>(SystemClock().Monotonic() - began) / 1e9;
  }
  return Fail(Code::kDeadline, "{} is still loading: see `penstock status`", name);
}

// Of this machine's cloud; empty when none runs here.
std::map<std::string, ServedState> StatesIfRunning(const Config& config) {
  if (!CloudRuns(config)) return {};
  const auto cloud = Cloud::OpenLocal(config);
  return cloud.has_value() ? StatesOf(*cloud) : std::map<std::string, ServedState>();
}

// A running cloud looks the data directory through again, and serves what is new.
void TellCloud(const Config& config, const std::string& name) {
  if (!CloudRuns(config)) {
    fmt::print(stderr, "serve it with `penstock up`\n");
    return;
  }
  const auto cloud = Cloud::OpenLocal(config);
  const auto answer =
      cloud.has_value() ? cloud->Post("/admin/v1/models/rescan", {}) : std::unexpected(cloud.error());
  if (!answer.has_value()) {
    fmt::print(stderr, "the running cloud was not told: {}\n", answer.error().message);
    return;
  }
  fmt::print(stderr, "the running cloud loads it\n");
  const auto seconds = WaitUntilReady(*cloud, name);
  if (seconds.has_value()) {
    fmt::print(stderr, "ready after {:.1f} s. Try: penstock chat {}\n", *seconds, name);
  } else {
    fmt::print(stderr, "it cannot be used yet: {}\n", seconds.error().message);
  }
}

// ---- pull and import -------------------------------------------------------------------------------

std::string StateOf(const CatalogueModel& model, const std::vector<Manifest>& installed) {
  const bool here = std::ranges::any_of(installed, [&](const Manifest& m) { return m.name == model.name; });
  return here ? "installed" : "";
}

std::string SourcesOf(const CatalogueModel& model) {
  std::string sources;
  if (!model.hub.repository.empty()) sources = fmt::format("hub {}", model.hub.repository);
  if (!model.wheel.package.empty()) {
    sources +=
        fmt::format("{}wheel {} {}", sources.empty() ? "" : ", ", model.wheel.package, model.wheel.version);
  }
  return sources;
}

std::string_view FitName(Fits fits) {
  switch (fits) {
    case Fits::kYes:
      return "yes";
    case Fits::kNotNow:
      return "not now";
    case Fits::kNoDisk:
      return "disk is full";
    case Fits::kNo:
      return "no";
    default:
      return "unknown";
  }
}

json::object FitToJson(const Fit& fit) {
  return {{"fits", FitName(fit.fits)},
          {"tokens_per_second", fit.alone},
          {"tokens_per_second_of_16", fit.together},
          {"users", fit.users},
          {"user_context", fit.user_context},
          {"longest_context", fit.longest},
          {"about", fit.about}};
}

Result<int> ListCatalogue(const Place& place, const Options& options) {
  const auto installed = place.store.List();
  const FitMachine machine = LookAtMachine(place.config, place.data);
  const CatalogueModel* best = LargestThatFits(machine);
  Table table({"NAME", ">PARAMETERS", "QUANTISATION", ">SIZE", "FITS HERE", "LICENCE", "SOURCES", "NOTE"});
  json::array all;
  for (const auto& model : KnownModels()) {
    const Fit fit = JudgeFit(model.ForFit(), machine);
    const std::string checked = model.PulledByUs() ? "" : "never pulled by us";
    std::string note = StateOf(model, installed);
    for (const auto& more : {checked, std::string(model.note)}) {
      if (!more.empty()) note += (note.empty() ? "" : "; ") + more;
    }
    table.Row({std::string(model.name), std::string(model.parameters), std::string(model.quantisation),
               (model.size == 0 ? "~" : "") + HumanBytes(model.LikelyBytes()), FitWord(fit),
               std::string(model.licence), SourcesOf(model), note});
    all.push_back(json::object{{"name", model.name},
                               {"title", model.title},
                               {"parameters", model.parameters},
                               {"quantisation", model.quantisation},
                               {"size", model.size},
                               {"likely_size", model.LikelyBytes()},
                               {"fit", FitToJson(fit)},
                               {"licence", model.licence},
                               {"sources", SourcesOf(model)},
                               {"sha256", model.sha256},
                               {"pulled_by_us", model.PulledByUs()},
                               {"installed", !StateOf(model, installed).empty()},
                               {"note", model.note}});
  }
  if (options.as_json) {
    fmt::print("{}", PrettyJson(json::object{{"best", best == nullptr ? "" : best->name}, {"data", all}}));
  } else {
    fmt::print("{}\nGet one: penstock model pull NAME\n", table.Text());
    if (best != nullptr)
      fmt::print("The largest that this machine runs at reading pace or better: {}\n", best->name);
  }
  return 0;
}

int Installed(const Manifest& manifest, const Config& config, const Options& options) {
  if (options.as_json) {
    fmt::print("{}", PrettyJson(json::object{{"name", manifest.name}, {"bytes", manifest.Bytes()}}));
  } else {
    fmt::print("{} is installed: {} {}, {}{}\n", manifest.name, manifest.facts.architecture,
               manifest.facts.quantisation, HumanBytes(manifest.Bytes()),
               manifest.note.empty() ? "" : " (" + manifest.note + ")");
    std::fflush(stdout);
  }
  TellCloud(config, manifest.name);
  return 0;
}

Result<int> PullModel(const Place& place, const Options& options) {
  if (options.what.empty()) return ListCatalogue(place, options);
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
                  Pull(request, place.config, place.store,
                       [](const std::string& line) { fmt::print(stderr, "{}\n", line); }));
  return Installed(manifest, place.config, options);
}

// Whether it fits here, by its own file.
std::vector<std::string> FitOf(const Manifest& manifest, const Place& place) {
  FitMachine machine = LookAtMachine(place.config, place.data);
  machine.disk_free.reset();  // it is here already
  if (manifest.context > 0) machine.context = manifest.context;
  if (manifest.kv_bytes > 0) machine.kv_memory = static_cast<uint64_t>(manifest.kv_bytes);
  FitModel model{.bytes = manifest.Bytes()};
  if (const auto shape = ShapeOfModel(place.store.PathOf(manifest)); shape.has_value()) model.shape = *shape;
  return FitLines(manifest.name, model, machine, JudgeFit(model, machine));
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

// ---- ls, show, rm ----------------------------------------------------------------------------------

// What a cloud elsewhere serves to this key: its files are not here to be looked at.
Result<int> ListServed(const Cloud& cloud, const Options& options) {
  PENSTOCK_ASSIGN(const json::object answer, cloud.Get("/v1/models"));
  const auto states = StatesOf(cloud);  // the operator's to see; else all that is listed is served
  Table table({"NAME", "STATE", ">CONTEXT"});
  json::array all;
  const auto add = [&](const std::string& name, const std::string& state, int64_t context) {
    table.Row({name, state, context == 0 ? "" : HumanCount(context)});
    all.push_back(json::object{{"name", name}, {"state", state}, {"context", context}});
  };
  for (const auto& value : GetArray(answer, "data")) {
    const auto& model = value.as_object();
    const std::string name = GetText(model, "id");
    const auto state = states.find(name);
    add(name, state == states.end() ? "served" : state->second.state, GetInt(model, "max_model_len"));
  }
  for (const auto& [name, state] : states) {
    if (state.state == "unloaded") add(name, state.state, 0);
  }
  if (options.as_json) {
    fmt::print("{}", PrettyJson(json::object{{"data", all}}));
  } else {
    fmt::print("{}", table.empty() ? "it serves no models to this key\n" : table.Text());
  }
  return 0;
}

// What can be promised of each model that this key may use.
Result<int> ListGuarantees(const Cloud& cloud, const Options& options) {
  PENSTOCK_ASSIGN(const json::object answer, cloud.Get("/v1/models"));
  std::vector<std::string> columns = GuaranteeColumns();
  columns.insert(columns.begin(), "MODEL");
  Table table(std::move(columns));
  json::array all;
  for (const auto& value : GetArray(answer, "data")) {
    const auto& model = value.as_object();
    const auto& kept = GetObject(model, "guarantees");
    std::vector<std::string> cells = GuaranteeCells(kept);
    cells.insert(cells.begin(), GetText(model, "id"));
    if (kept.empty()) cells[1] = "no engine has it";
    table.Row(std::move(cells));
    all.push_back(json::object{{"name", GetText(model, "id")}, {"guarantees", kept}});
  }
  if (options.as_json) {
    fmt::print("{}", PrettyJson(json::object{{"data", all}}));
  } else {
    fmt::print("{}", table.empty() ? "it serves no models to this key\n" : table.Text());
  }
  return 0;
}

Result<int> ListModels(const Place& place, const Options& options) {
  if (options.catalogue) return ListCatalogue(place, options);
  if (options.guarantees) {
    PENSTOCK_ASSIGN(const Cloud cloud, Cloud::Open(place.config));
    return ListGuarantees(cloud, options);
  }
  PENSTOCK_ASSIGN(const Endpoint endpoint, FindEndpoint(place.config));
  if (endpoint.login) {
    PENSTOCK_ASSIGN(const Cloud cloud, Cloud::Open(place.config));
    return ListServed(cloud, options);
  }
  const auto states = StatesIfRunning(place.config);
  Table table({"NAME", "STATE", "ARCHITECTURE", "QUANTISATION", ">SIZE", ">CONTEXT", "LICENCE", "SOURCE"});
  json::array all;
  for (const auto& manifest : place.store.List()) {
    const auto found = states.find(manifest.name);
    const ServedState state = found == states.end() ? ServedState{"installed", ""} : found->second;
    table.Row({manifest.name, state.state, manifest.facts.architecture, manifest.facts.quantisation,
               HumanBytes(manifest.Bytes()), HumanCount(manifest.facts.context), manifest.licence,
               manifest.source});
    all.push_back(json::object{{"name", manifest.name},
                               {"state", state.state},
                               {"error", state.error},
                               {"architecture", manifest.facts.architecture},
                               {"quantisation", manifest.facts.quantisation},
                               {"bytes", manifest.Bytes()},
                               {"context", manifest.facts.context},
                               {"licence", manifest.licence},
                               {"source", manifest.source}});
  }
  if (options.as_json) {
    fmt::print("{}", PrettyJson(json::object{{"data", all}}));
  } else {
    fmt::print("{}",
               table.empty() ? "no models yet: `penstock model pull` lists what can be had\n" : table.Text());
  }
  return 0;
}

json::object Described(const Manifest& manifest, const std::string& path) {
  json::array files;
  for (const auto& file : manifest.files) {
    files.push_back(json::object{{"name", file.name}, {"size", file.size}, {"sha256", file.sha256}});
  }
  json::object facts = FactsToJson(manifest.facts);
  return {{"name", manifest.name},
          {"path", path},
          {"source", manifest.source},
          {"licence", manifest.licence},
          {"note", manifest.note},
          {"installed", manifest.installed},
          {"bytes", manifest.Bytes()},
          {"context_cap", manifest.context},
          {"kv_bytes", manifest.kv_bytes},
          {"facts", facts},
          {"files", files}};
}

Result<int> ShowModel(const Place& place, const Options& options) {
  const ModelStore& store = place.store;
  PENSTOCK_ASSIGN(const Manifest manifest, store.Find(options.what));
  if (options.verify) {
    Progress progress("checking " + manifest.name);
    PENSTOCK_TRY(
        store.Verify(manifest, [&](uint64_t done, uint64_t total) { progress.Update(done, total); }));
  }
  if (options.as_json) {
    fmt::print("{}", PrettyJson(Described(manifest, store.PathOf(manifest))));
    return 0;
  }
  const auto states = StatesIfRunning(place.config);
  const auto state = states.find(manifest.name);
  const auto& facts = manifest.facts;
  fmt::print("{}{}\n", manifest.name, facts.name.empty() ? "" : fmt::format(" ({})", facts.name));
  fmt::print("  state         {}\n", state == states.end() ? "installed" : state->second.state);
  if (state != states.end() && !state->second.error.empty())
    fmt::print("  error         {}\n", state->second.error);
  fmt::print("  architecture  {}, {} parameters\n", facts.architecture, HumanCount(facts.parameters));
  fmt::print("  quantisation  {}, {}\n", facts.quantisation, HumanBytes(manifest.Bytes()));
  fmt::print("  context       {} tokens{}\n", HumanCount(facts.context),
             manifest.context == 0 ? "" : fmt::format(", capped to {}", HumanCount(manifest.context)));
  fmt::print("  vocabulary    {} tokens, read by {}\n", HumanCount(facts.vocabulary), facts.tokenizer);
  fmt::print("  chat template {}\n", facts.chat ? "yes" : "none: only /v1/completions");
  fmt::print("  licence       {}\n", manifest.licence.empty() ? "not stated" : manifest.licence);
  fmt::print("  source        {}\n  installed     {}\n  path          {}\n", manifest.source,
             HumanTime(static_cast<double>(manifest.installed)), store.PathOf(manifest));
  for (const auto& file : manifest.files) fmt::print("  sha256        {}  {}\n", file.sha256, file.name);
  if (!manifest.note.empty()) fmt::print("  note          {}\n", manifest.note);
  if (options.verify) fmt::print("  verified      every file has its SHA-256\n");
  fmt::print("\n");
  for (const auto& line : FitOf(manifest, place)) fmt::print("{}\n", line);
  return 0;
}

Result<int> RemoveModel(const Place& place, const Options& options) {
  const Config& config = place.config;
  PENSTOCK_TRY(place.store.Find(options.what));
  const bool runs = CloudRuns(config);
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
  fmt::print("{} is removed\n", options.what);
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
  fmt::print("{} is unloaded; it stays installed\n", options.what);
  return 0;
}

void AddLimits(CLI::App* command, const Shared& options) {
  command->add_option("--name", options->name, "what clients write in \"model\"");
  command->add_option("--context", options->context, "cap on its context, in tokens")->check(Count());
  command->add_option("--kv", options->kv, "memory for its KV, such as 2GiB")
      ->type_name("BYTES")
      ->check(Size());
  command->add_flag("--json", options->as_json, "as JSON");
}

}  // namespace

void AddModelCommands(CLI::App& app, Cli& cli) {
  auto options = std::make_shared<Options>();
  CLI::App* model = app.add_subcommand("model", "Get, list, load and remove models");
  model->require_subcommand(1);
  model->footer("Example:\n  penstock model pull smollm2-135m");

  CLI::App* pull = model->add_subcommand("pull", "Get a model; without a name, list what can be had");
  pull->add_option("what", options->what, "a name of the catalogue, hf:ORG/REPO/FILE.gguf, or an http(s) URL")
      ->type_name("SOURCE");
  AddLimits(pull, options);
  pull->add_option("--sha256", options->sha256, "that the file must have");
  pull->add_flag("--repin", options->repin,
                 "take what the hub offers now, even if it changed since the first pull");
  pull->add_flag("--anyway", options->anyway, "fetch it even if it does not fit this machine");
  pull->footer(
      "Example:\n  penstock model pull\n  penstock model pull smollm2-135m\n"
      "  penstock model pull hf:Qwen/Qwen3-0.6B-GGUF/Qwen3-0.6B-Q8_0.gguf --name qwen3");
  OnChosen(pull, cli, options, PullModel);

  CLI::App* import = model->add_subcommand("import", "Take a GGUF file or a Hugging Face folder");
  import->add_option("path", options->what, "the file or folder")->required()->type_name("PATH");
  AddLimits(import, options);
  import->footer("Example:\n  penstock model import ./my-model.gguf --name my-model");
  OnChosen(import, cli, options, ImportModel);

  CLI::App* list = model->add_subcommand("ls", "List the installed models and their state");
  list->add_flag("--catalogue", options->catalogue,
                 "what can be had instead, and what of it fits this machine");
  list->add_flag("--guarantees", options->guarantees, "what every engine that has a model can promise");
  list->add_flag("--json", options->as_json, "as JSON");
  list->footer("Example:\n  penstock model ls\n  penstock model ls --catalogue");
  OnChosen(list, cli, options, ListModels);

  CLI::App* show = model->add_subcommand("show", "Everything that is known of one model");
  show->add_option("name", options->what, "which one")->required()->type_name("MODEL");
  show->add_flag("--verify", options->verify, "read every file and compare its SHA-256");
  show->add_flag("--json", options->as_json, "as JSON");
  show->footer("Example:\n  penstock model show smollm2-135m --verify");
  OnChosen(show, cli, options, ShowModel);

  CLI::App* load = model->add_subcommand("load", "Have the running cloud load a model, and wait for it");
  load->add_option("name", options->what, "which one")->required()->type_name("MODEL");
  load->footer("Example:\n  penstock model load smollm2-135m");
  OnChosen(load, cli, options, LoadModel);

  CLI::App* unload = model->add_subcommand("unload", "Free a model's memory; it stays installed");
  unload->add_option("name", options->what, "which one")->required()->type_name("MODEL");
  unload->footer("Example:\n  penstock model unload smollm2-135m");
  OnChosen(unload, cli, options, UnloadModel);

  CLI::App* remove = model->add_subcommand("rm", "Remove a model from this machine");
  remove->add_option("name", options->what, "which one")->required()->type_name("MODEL");
  remove->footer("Example:\n  penstock model rm smollm2-135m");
  OnChosen(remove, cli, options, RemoveModel);
}

}  // namespace penstock
