#include "app/client/guarantees.h"
#include "app/commands/model_parts.h"
#include "app/common/json_get.h"
#include "app/common/progress.h"
#include "app/common/table.h"
#include "app/machine/machine.h"
#include "app/models/catalogue.h"

namespace penstock::model_command {
namespace json = boost::json;
namespace {

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

// What a remote cloud serves to this key. Its model files are not on this machine.
Result<int> ListServed(const Cloud& cloud, const Options& options) {
  PENSTOCK_ASSIGN(const json::object answer, cloud.Get("/v1/models"));
  const auto states = StatesOf(cloud);  // empty without an operator key: then every listed model is served
  Table table({"~NAME", "STATE", ">CONTEXT"});
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
    fmt::print("{}", table.empty() ? "no models are available to this key\n" : table.TextForOutput());
  }
  return 0;
}

// The guarantees for each model that this key may use.
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
    if (kept.empty()) cells[1] = "no engine has this model";
    table.Row(std::move(cells));
    all.push_back(json::object{{"name", GetText(model, "id")}, {"guarantees", kept}});
  }
  if (options.as_json) {
    fmt::print("{}", PrettyJson(json::object{{"data", all}}));
  } else {
    fmt::print("{}", table.empty() ? "no models are available to this key\n" : table.Text());
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

}  // namespace

Result<int> ListCatalogue(const Place& place, const Options& options) {
  const auto installed = place.store.List();
  const FitMachine machine = LookAtMachine(place.config, place.data);
  const CatalogueModel* best = LargestThatFits(machine);
  Table table({"NAME", ">PARAMETERS", "QUANTISATION", ">SIZE", "FITS HERE", "LICENCE", "SOURCES", "NOTE"});
  json::array all;
  for (const auto& model : KnownModels()) {
    const Fit fit = JudgeFit(model.ForFit(), machine);
    const std::string checked = model.PulledByUs() ? "" : "download not tested";
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
    fmt::print("{}\nTo download one: penstock model pull NAME\n", table.Text());
    if (best != nullptr)
      fmt::print("The largest that this machine runs at reading speed or faster: {}\n", best->name);
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
  Table table({"~NAME", "STATE", "ARCHITECTURE", "QUANTISATION", ">SIZE", ">CONTEXT", "LICENCE", "~SOURCE"});
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
    fmt::print("{}", table.empty() ? "no models yet: `penstock model pull` lists the catalogue\n"
                                   : table.TextForOutput());
  }
  return 0;
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
  fmt::print("  vocabulary    {} tokens, tokenizer {}\n", HumanCount(facts.vocabulary), facts.tokenizer);
  fmt::print("  chat template {}\n", facts.chat ? "yes" : "none: only /v1/completions");
  fmt::print("  licence       {}\n", manifest.licence.empty() ? "not stated" : manifest.licence);
  fmt::print("  source        {}\n  installed     {}\n  path          {}\n", manifest.source,
             HumanTime(static_cast<double>(manifest.installed)), store.PathOf(manifest));
  for (const auto& file : manifest.files) fmt::print("  sha256        {}  {}\n", file.sha256, file.name);
  if (!manifest.note.empty()) fmt::print("  note          {}\n", manifest.note);
  if (options.verify) fmt::print("  verified      the SHA-256 of every file is correct\n");
  fmt::print("\n");
  for (const auto& line : FitOf(manifest, place)) fmt::print("{}\n", line);
  return 0;
}

std::vector<std::string> FitOf(const Manifest& manifest, const Place& place) {
  FitMachine machine = LookAtMachine(place.config, place.data);
  machine.disk_free.reset();  // the model is already on the disk
  if (manifest.context > 0) machine.context = manifest.context;
  if (manifest.kv_bytes > 0) machine.kv_memory = static_cast<uint64_t>(manifest.kv_bytes);
  FitModel model{.bytes = manifest.Bytes()};
  if (const auto shape = ShapeOfModel(place.store.PathOf(manifest)); shape.has_value()) model.shape = *shape;
  return FitLines(manifest.name, model, machine, JudgeFit(model, machine));
}

}  // namespace penstock::model_command
