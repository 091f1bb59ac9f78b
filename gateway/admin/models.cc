// The installed models: listed, looked for again, loaded and unloaded.
#include "gateway/admin/models.h"

#include "gateway/admin/routes.h"
#include "gateway/request/model_json.h"

namespace penstock::gateway {
namespace {

using Rescanner = std::function<std::vector<InstalledModel>()>;

void AppendModel(const ModelEntry& entry, const std::vector<EngineView>& engines, JsonWriter& writer) {
  writer.Object().Field("name", entry.model.name).Field("path", entry.model.path);
  writer.Field("created", entry.model.created).Field("context", entry.context);
  writer.Field("kv_bytes", static_cast<int64_t>(entry.model.kv_bytes));
  writer.FieldBool("served", entry.served).FieldBool("ready", entry.ready).Field("error", entry.error);
  AppendGuarantees(GuaranteesFor(entry.model.name, engines), writer);
  writer.EndObject();
}

}  // namespace

void AppendModels(std::string_view key, Models& models, const Fleet& fleet, JsonWriter& writer) {
  models.Refresh();
  const std::vector<EngineView> engines = fleet.Engines();
  writer.Key(key).Array();
  for (const auto& [_, entry] : models.entries()) AppendModel(entry, engines, writer);
  writer.EndArray();
}

namespace {

void AppendNames(std::string_view key, const std::vector<std::string>& names, JsonWriter& writer) {
  writer.Key(key).Array();
  for (const std::string& name : names) writer.String(name);
  writer.EndArray();
}

void SetServed(Models& models, const Fleet& fleet, const Call& call, bool served) {
  const Status done = models.SetServed(call.argument, served);
  if (!done) return call.SendError(done.error());
  std::string out;
  JsonWriter writer(out);
  AppendModel(*models.Find(call.argument), fleet.Engines(), writer);
  call.SendJson(std::move(out));
}

void SendInstalled(Models& models, const Fleet& fleet, const Call& call) {
  std::string out;
  JsonWriter writer(out);
  writer.Object();
  AppendModels("data", models, fleet, writer);
  writer.EndObject();
  call.SendJson(std::move(out));
}

void Rescan(Models& models, const Fleet& fleet, const Rescanner& rescan, const Call& call) {
  ModelsChange change;
  if (rescan) change = models.Install(rescan());
  std::string out;
  JsonWriter writer(out);
  writer.Object();
  AppendNames("added", change.added, writer);
  AppendNames("removed", change.removed, writer);
  AppendModels("data", models, fleet, writer);
  writer.EndObject();
  call.SendJson(std::move(out));
}

}  // namespace

std::vector<Route> ModelRoutes(Models& models, const Fleet& fleet, Rescanner rescan) {
  using enum Capability;
  return {
      {Method::kGet, "/admin/v1/models", kManageModels,
       [&](Call& call) { SendInstalled(models, fleet, call); }},
      {Method::kPost, "/admin/v1/models/rescan", kManageModels,
       [&, rescan = std::move(rescan)](Call& call) { Rescan(models, fleet, rescan, call); }},
      {Method::kPost, "/admin/v1/models/{}/load", kManageModels,
       [&](Call& call) { SetServed(models, fleet, call, true); }},
      {Method::kPost, "/admin/v1/models/{}/unload", kManageModels,
       [&](Call& call) { SetServed(models, fleet, call, false); }},
  };
}

}  // namespace penstock::gateway
