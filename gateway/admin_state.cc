// The admin routes that tell of usage, requests, models, logs and the pool.
#include <sys/statvfs.h>
#include <unistd.h>

#include "engine/wire_error.h"
#include "gateway/admin_fields.h"
#include "gateway/json_out.h"
#include "gateway/records.h"

namespace penstock::gateway {
namespace {

void AppendEngineModel(const wire::ModelState& state, JsonWriter& writer) {
  writer.Object().Field("name", state.name()).Field("state", ModelStateName(state.state()));
  writer.Field("error", ErrorOf(state).message)
      .Field("context", state.context())
      .Field("pages", state.pages());
  writer.Field("page_bytes", static_cast<int64_t>(state.page_bytes()));
  writer.Field("weight_bytes", static_cast<int64_t>(state.weight_bytes())).Field("kernel", state.kernel());
  writer.EndObject();
}

void AppendProfile(const ProfileView& profile, JsonWriter& writer) {
  writer.Object().Field("model", profile.model);
  writer.FieldNumber("step_us", profile.speed.step / 1e3);
  writer.FieldNumber("prefill_token_us", profile.speed.prefill / 1e3);
  writer.FieldNumber("decode_token_us", profile.speed.decode / 1e3);
  writer.FieldNumber("position_ns", profile.speed.context).FieldNumber("drift", profile.drift);
  writer.Field("steps", static_cast<int64_t>(profile.steps)).EndObject();
}

void AppendEngine(const EngineView& engine, JsonWriter& writer) {
  const auto count = [&](std::string_view name, uint64_t value) {
    writer.Field(name, static_cast<int64_t>(value));
  };
  writer.Object().Field("name", engine.name).Field("runner", engine.runner).Field("chip", engine.chip);
  writer.Field("kernel", engine.kernel).Field("place", engine.place).Field("note", engine.note);
  count("pid", engine.pid);
  writer.FieldBool("connected", engine.connected).Field("state", engine.State()).Field("why", engine.why);
  count("may_run", engine.may_run);
  writer.Field("contract", engine.contract).FieldBool("external", engine.external);
  AppendGuarantees(GuaranteesOf(engine.abilities), writer);
  writer.FieldBool("draining", engine.draining);
  count("memory_bytes", engine.memory_bytes);
  count("resident_bytes", engine.load.resident_bytes());
  count("sent", engine.sent);
  count("running", engine.load.running());
  count("waiting", engine.load.waiting());
  count("free_pages", engine.load.free_pages());
  count("cached_pages", engine.load.cached_pages());
  count("preemptions", engine.load.preemptions());
  count("restored_tokens", engine.load.restored_tokens());
  count("prefix_hit_tokens", engine.load.prefix_hit_tokens());
  count("computed_tokens", engine.load.computed_tokens());
  writer.Key("models").Array();
  for (const wire::ModelState& state : engine.models) AppendEngineModel(state, writer);
  writer.EndArray().Key("profiles").Array();
  for (const ProfileView& profile : engine.profiles) AppendProfile(profile, writer);
  writer.EndArray().EndObject();
}

void AppendEngines(const Call& call, std::string_view key, JsonWriter& writer) {
  writer.Key(key).Array();
  for (const EngineView& engine : call.service.fleet.Engines()) AppendEngine(engine, writer);
  writer.EndArray();
}

void SendEngines(const Call& call) {
  std::string out;
  JsonWriter writer(out);
  writer.Object();
  AppendEngines(call, "data", writer);
  writer.EndObject();
  call.SendJson(std::move(out));
}

void AppendModel(const CatalogueEntry& entry, const std::vector<EngineView>& engines, JsonWriter& writer) {
  writer.Object().Field("name", entry.model.name).Field("path", entry.model.path);
  writer.Field("created", entry.model.created).Field("context", entry.context);
  writer.Field("kv_bytes", static_cast<int64_t>(entry.model.kv_bytes));
  writer.FieldBool("served", entry.served).FieldBool("ready", entry.ready).Field("error", entry.error);
  AppendGuarantees(GuaranteesFor(entry.model.name, engines), writer);
  writer.EndObject();
}

void AppendModels(const Call& call, std::string_view key, JsonWriter& writer) {
  call.service.catalogue.Refresh();
  const std::vector<EngineView> engines = call.service.fleet.Engines();
  writer.Key(key).Array();
  for (const auto& [_, entry] : call.service.catalogue.entries()) AppendModel(entry, engines, writer);
  writer.EndArray();
}

void AppendNames(std::string_view key, const std::vector<std::string>& names, JsonWriter& writer) {
  writer.Key(key).Array();
  for (const std::string& name : names) writer.String(name);
  writer.EndArray();
}

void AppendLogPart(std::string_view key, const LogControl::Part& part, JsonWriter& writer) {
  writer.Key(key).Object().Field("level", LogLevelName(part.level));
  writer.Field("for_seconds", (part.left + kSecond - 1) / kSecond).EndObject();
}

// An object with both parts.
void AppendLog(const LogControl& control, JsonWriter& writer) {
  writer.Object();
  AppendLogPart("gateway", control.gateway(), writer);
  AppendLogPart("engine", control.engines(), writer);
  writer.EndObject();
}

void AppendDisk(const std::string& path, JsonWriter& writer) {
  struct statvfs info{};
  const bool known = !path.empty() && ::statvfs(path.c_str(), &info) == 0;
  const auto bytes = [&](auto blocks) {
    return known ? static_cast<int64_t>(blocks * info.f_frsize) : int64_t{0};
  };
  writer.Key("disk").Object().Field("path", path).Field("bytes", bytes(info.f_blocks));
  writer.Field("free_bytes", bytes(info.f_bavail)).EndObject();
}

void SendLog(const Call& call) {
  std::string out;
  JsonWriter writer(out);
  AppendLog(call.service.log_control, writer);
  call.SendJson(std::move(out));
}

void SetServed(const Call& call, bool served) {
  const Status done = call.service.catalogue.SetServed(call.argument, served);
  if (!done) return call.SendError(ToApiError(done.error()));
  std::string out;
  JsonWriter writer(out);
  AppendModel(*call.service.catalogue.Find(call.argument), call.service.fleet.Engines(), writer);
  call.SendJson(std::move(out));
}

}  // namespace

void HandleUsage(Call& call) {
  SendUsage(call);
}

void HandleStatus(Call& call) {
  const Service& service = call.service;
  const std::string reason = service.NotReady();
  std::string out;
  JsonWriter writer(out);
  writer.Object().Field("version", PENSTOCK_VERSION).Field("pid", static_cast<int64_t>(::getpid()));
  writer.Field("uptime_s", (service.clock.Monotonic() - service.started) / kSecond);
  writer.FieldBool("ready", reason.empty()).Field("reason", reason).FieldBool("draining", service.draining);
  writer.Field("tls_fingerprint", service.tls_fingerprint);
  writer.Key("store").Object().FieldBool("healthy", service.accounts.healthy());
  writer.Field("fault", service.accounts.fault()).EndObject();
  AppendDisk(service.options.data_dir, writer);
  writer.Key("log");
  AppendLog(service.log_control, writer);
  AppendWarnings(writer);
  writer.Field("tokens", static_cast<int64_t>(service.fleet.Stats().tokens));
  writer.FieldNumber("tokens_per_second", service.token_rate.PerSecond());
  writer.Field("open_streams", static_cast<int64_t>(service.open_stories));
  writer.Field("connections", static_cast<int64_t>(service.connections ? service.connections() : 0));
  writer.Field("waiting", static_cast<int64_t>(service.fleet.Waiting()));
  writer.Field("running", static_cast<int64_t>(service.fleet.Running()));
  AppendEngines(call, "engines", writer);
  writer.Key("queue").Array();
  for (const TeamQueueView& team : service.fleet.Queue()) {
    writer.Object().Field("team", team.name).Field("waiting", team.waiting).Field("running", team.running);
    writer.FieldNumber("virtual_ms", team.virtual_seconds * 1000);
    writer.FieldNumber("chip_ms", static_cast<double>(team.chip_ns) / kMillisecond);
    writer.Field("tokens", static_cast<int64_t>(team.tokens)).EndObject();
  }
  writer.EndArray();
  AppendModels(call, "models", writer);
  writer.EndObject();
  call.SendJson(std::move(out));
}

void HandleEngines(Call& call) {
  SendEngines(call);
}

void HandleDrainEngine(Call& call) {
  if (const Status done = call.service.fleet.SetDraining(call.argument, true); !done) {
    return call.SendError(ToApiError(done.error()));
  }
  SendEngines(call);
}

void HandleResumeEngine(Call& call) {
  if (const Status done = call.service.fleet.SetDraining(call.argument, false); !done) {
    return call.SendError(ToApiError(done.error()));
  }
  SendEngines(call);
}

void HandleRestartEngine(Call& call) {
  if (const Status done = call.service.fleet.Restart(call.argument); !done) {
    return call.SendError(ToApiError(done.error()));
  }
  SendEngines(call);
}

void HandleLogLevels(Call& call) {
  SendLog(call);
}

void HandleSetLogLevel(Call& call) {
  auto body = ReadBody(call);
  if (!body) return;
  Fields fields(body->get_object());
  const auto level = ParseLogLevel(fields.String("level").value_or(""));
  if (!level) fields.Fault("level", level.error().message);
  const std::string_view part = fields.String("component").value_or("all");
  if (part != "all" && part != "gateway" && part != "engine")
    fields.Fault("component", fmt::format("'{}' is none: gateway, engine or all", part));
  const Nanos lasting = fields.Integer("for_seconds", 0, 7 * 24 * 3600).value_or(0) * kSecond;
  if (!Accept(call, fields)) return;
  LogControl& control = call.service.log_control;
  if (part != "engine") control.SetGateway(*level, lasting);
  if (part != "gateway") control.SetEngines(*level, lasting);
  call.service.log.Note("log_level", fmt::format("{} for {}", LogLevelName(*level), part));
  SendLog(call);
}

void HandleInstalledModels(Call& call) {
  std::string out;
  JsonWriter writer(out);
  writer.Object();
  AppendModels(call, "data", writer);
  writer.EndObject();
  call.SendJson(std::move(out));
}

void HandleRescan(Call& call) {
  CatalogueChange change;
  if (call.service.options.rescan) change = call.service.catalogue.Install(call.service.options.rescan());
  std::string out;
  JsonWriter writer(out);
  writer.Object();
  AppendNames("added", change.added, writer);
  AppendNames("removed", change.removed, writer);
  AppendModels(call, "data", writer);
  writer.EndObject();
  call.SendJson(std::move(out));
}

void HandleLoad(Call& call) {
  SetServed(call, true);
}

void HandleUnload(Call& call) {
  SetServed(call, false);
}

}  // namespace penstock::gateway
