// The gateway as a whole: its status for operators, and the pages of no dialect for probes and Prometheus.
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>

#include "engine/wire_error.h"
#include "gateway/admin/engines.h"
#include "gateway/admin/live.h"
#include "gateway/admin/log_levels.h"
#include "gateway/admin/models.h"
#include "gateway/admin/records.h"
#include "gateway/admin/routes.h"

namespace penstock::gateway {
namespace {

void AppendDisk(const std::string& path, JsonWriter& writer) {
  struct statvfs info{};
  const bool known = !path.empty() && ::statvfs(path.c_str(), &info) == 0;
  const auto bytes = [&](auto blocks) {
    return known ? static_cast<int64_t>(blocks * info.f_frsize) : int64_t{0};
  };
  writer.Key("disk").Object().Field("path", path).Field("bytes", bytes(info.f_blocks));
  writer.Field("free_bytes", bytes(info.f_bavail)).EndObject();
}

void SendStatus(const StatusContext& context, const Call& call) {
  const GatewayStatus& status = context.status;
  const std::string reason = context.NotReady();
  std::string out;
  JsonWriter writer(out);
  writer.Object().Field("version", PENSTOCK_VERSION).Field("pid", static_cast<int64_t>(::getpid()));
  writer.Field("uptime_s", (context.clock.Monotonic() - status.started) / kSecond);
  writer.FieldBool("ready", reason.empty()).Field("reason", reason).FieldBool("draining", status.draining);
  writer.Field("tls_fingerprint", status.tls_fingerprint);
  writer.Key("store").Object().FieldBool("healthy", context.accounts.healthy());
  writer.Field("fault", context.accounts.fault()).EndObject();
  AppendDisk(context.data_dir, writer);
  writer.Key("log");
  AppendLogLevels(context.log_control, writer);
  AppendWarnings(writer);
  writer.Field("tokens", static_cast<int64_t>(context.fleet.Stats().tokens));
  writer.FieldNumber("tokens_per_second", status.token_rate.PerSecond());
  writer.Field("open_streams", static_cast<int64_t>(status.open_requests));
  writer.Field("connections", static_cast<int64_t>(status.connections ? status.connections() : 0));
  writer.Field("waiting", static_cast<int64_t>(context.fleet.Waiting()));
  writer.Field("running", static_cast<int64_t>(context.fleet.Running()));
  AppendEngines("engines", context.fleet, writer);
  writer.Key("queue").Array();
  for (const TeamQueueView& team : context.fleet.Queue()) {
    writer.Object().Field("team", team.name).Field("waiting", team.waiting).Field("running", team.running);
    writer.FieldNumber("virtual_ms", team.virtual_seconds * 1000);
    writer.FieldNumber("chip_ms", static_cast<double>(team.chip_ns) / kMillisecond);
    writer.Field("tokens", static_cast<int64_t>(team.tokens)).EndObject();
  }
  writer.EndArray();
  AppendModels("models", context.models, context.fleet, writer);
  writer.EndObject();
  call.SendJson(std::move(out));
}

HttpResponse Text(std::string body, int status = 200) {
  HttpResponse response;
  response.status = status;
  response.content_type = "text/plain; charset=utf-8";
  response.body = std::move(body);
  return response;
}

Gauges Measure(const StatusContext& context) {
  Gauges gauges;
  gauges.connections = context.status.connections ? context.status.connections() : 0;
  gauges.open_streams = context.status.open_requests;
  gauges.waiting = context.fleet.Waiting();
  gauges.running = context.fleet.Running();
  gauges.store_healthy = context.accounts.healthy();
  gauges.ready = context.NotReady().empty();
  gauges.uptime = context.clock.Monotonic() - context.status.started;
  gauges.fleet = context.fleet.Stats();
  gauges.engines = context.fleet.Engines();
  gauges.queue = context.fleet.Queue();
  return gauges;
}

void SendReady(const StatusContext& context, const Call& call) {
  const std::string why = context.NotReady();
  call.Send(why.empty() ? Text("ready\n") : Text(why + "\n", 503));
}

void SendMetrics(const StatusContext& context, const Call& call) {
  HttpResponse response = Text(context.metrics.Render(Measure(context)));
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  call.Send(std::move(response));
}

// Why no model is ready: one that failed is not on its way.
std::string WhyNoModel(const StatusContext& context) {
  const std::vector<EngineView> engines = context.fleet.Engines();
  const auto connected = [](const EngineView& engine) { return engine.connected; };
  if (std::ranges::none_of(engines, connected)) return "no engine is connected yet";
  if (std::ranges::all_of(engines,
                          [&](const EngineView& engine) { return !connected(engine) || engine.draining; }))
    return "all engines are draining; an operator can take one back: penstock engine resume NAME";
  bool loading = false;
  std::string failed;
  for (const EngineView& engine : engines) {
    for (const wire::ModelState& state : engine.models) {
      loading = loading || state.state() == wire::ModelState::LOADING;
      if (state.state() == wire::ModelState::FAILED)
        failed = fmt::format("the model '{}' cannot be loaded: {}", state.name(), ErrorOf(state).message);
    }
  }
  for (const auto& [name, entry] : context.models.entries()) {
    if (failed.empty() && !entry.error.empty())
      failed = fmt::format("the model '{}' cannot be served: {}", name, entry.error);
  }
  return failed.empty() || loading ? "no engine has a model ready yet" : failed;
}

}  // namespace

std::string StatusContext::NotReady() const {
  if (status.draining) return "the server is stopping";
  if (!accounts.healthy()) return "usage cannot be stored: " + accounts.fault();
  if (models.entries().empty()) return "no model is installed; `penstock model pull` installs one";
  if (!models.AnyReady()) return WhyNoModel(*this);
  return {};
}

std::vector<Route> StatusRoutes(const StatusContext& context, bool open_metrics) {
  using enum Capability;
  return {
      {Method::kGet, "/livez", {}, [](Call& call) { call.Send(Text("ok\n")); }},
      {Method::kGet, "/readyz", {}, [&context](Call& call) { SendReady(context, call); }},
      {Method::kGet, "/metrics", open_metrics ? std::nullopt : std::optional(kReadStatus),
       [&context](Call& call) { SendMetrics(context, call); }},
      {Method::kGet, "/v1/live", kReadLive, [&context](Call& call) { SendLive(context, call); }},
      {Method::kGet, "/admin/v1/status", kReadStatus, [&context](Call& call) { SendStatus(context, call); }},
  };
}

}  // namespace penstock::gateway
