#include "gateway/admin/live.h"

#include <algorithm>
#include <charconv>

#include "engine/wire_error.h"
#include "gateway/admin/records.h"
#include "gateway/common/json_out.h"
#include "gateway/request/model_json.h"

namespace penstock::gateway {
namespace {

constexpr size_t kMostRequests = 500;

// A key that is limited to some models sees those; a key that sees all teams sees all models.
bool MayKnow(const Call& call, std::string_view model) {
  return call.scope.reach == Reach::kAll || call.principal.MayUse(model);
}

std::string_view StateOf(const ModelEntry& entry, const std::vector<EngineView>& engines) {
  if (!entry.served) return "unloaded";
  if (entry.ready) return "ready";
  if (!entry.error.empty()) return "failed";
  bool failed = false;
  for (const EngineView& engine : engines) {
    const auto has = std::ranges::find(engine.models, entry.model.name, &wire::ModelState::name);
    if (has == engine.models.end()) continue;
    if (has->state() != wire::ModelState::FAILED) return "loading";
    failed = true;
  }
  return failed ? "failed" : "loading";
}

void AppendModels(const Models& models, const Call& call, const std::vector<EngineView>& engines,
                  JsonWriter& writer) {
  writer.Key("models").Array();
  for (const auto& [name, entry] : models.entries()) {
    if (!MayKnow(call, name)) continue;
    writer.Object().Field("name", name).Field("state", StateOf(entry, engines));
    writer.Field("context", entry.context).EndObject();
  }
  writer.EndArray();
}

// The weights and the KV of a model on an engine. Errors may name files, so only operators see them.
void AppendEngineModel(const wire::ModelState& state, bool with_error, JsonWriter& writer) {
  writer.Object().Field("name", state.name()).Field("state", ModelStateName(state.state()));
  if (with_error) writer.Field("error", ErrorOf(state).message);
  writer.Field("context", state.context());
  writer.Field("weight_bytes", static_cast<int64_t>(state.weight_bytes()));
  writer.Field("kv_bytes", static_cast<int64_t>(state.pages() * state.page_bytes()));
  writer.EndObject();
}

void AppendEngine(const Call& call, const EngineView& engine, JsonWriter& writer) {
  uint64_t pages = 0;
  for (const wire::ModelState& state : engine.models) pages += state.pages();
  const uint64_t free = std::min<uint64_t>(engine.load.free_pages(), pages);
  writer.Object().Field("name", engine.name).Field("chip", engine.chip).Field("kernel", engine.kernel);
  writer.Field("runner", engine.runner).Field("state", engine.State());
  if (May(call.principal.role, Capability::kReadStatus)) writer.Field("why", engine.why);
  writer.Field("running", engine.load.running()).Field("waiting", engine.load.waiting());
  writer.Field("computed_tokens", static_cast<int64_t>(engine.load.computed_tokens()));
  writer.Field("preemptions", static_cast<int64_t>(engine.load.preemptions()));
  writer.Key("memory").Object();
  writer.Field("used_bytes", static_cast<int64_t>(engine.load.resident_bytes()));
  writer.Field("total_bytes", static_cast<int64_t>(engine.memory_bytes)).EndObject();
  writer.Key("kv_pages").Object().Field("used", static_cast<int64_t>(pages - free));
  writer.Field("cached", engine.load.cached_pages()).Field("total", static_cast<int64_t>(pages)).EndObject();
  writer.Key("models").Array();
  const bool with_error = May(call.principal.role, Capability::kReadStatus);
  for (const wire::ModelState& state : engine.models) {
    if (MayKnow(call, state.name())) AppendEngineModel(state, with_error, writer);
  }
  writer.EndArray().EndObject();
}

// Usage since the start is shown to keys that may read the whole team's usage: a developer reads only the own
// key's.
void AppendTeam(const TeamQueueView& team, bool with_usage, JsonWriter& writer) {
  writer.Object().Field("team", team.name).Field("running", team.running).Field("waiting", team.waiting);
  if (with_usage) {
    writer.Field("tokens", static_cast<int64_t>(team.tokens));
    writer.FieldNumber("chip_ms", static_cast<double>(team.chip_ns) / kMillisecond);
  }
  writer.EndObject();
}

// The teams that the scope covers, and always the own one, by name; the others as one sum.
void AppendTeams(const Fleet& fleet, const Call& call, JsonWriter& writer) {
  const auto own_team = static_cast<uint64_t>(call.principal.team);
  const bool all = call.scope.reach == Reach::kAll;
  TeamQueueView own{.team = own_team, .name = call.principal.team_name}, others;
  writer.Key("teams").Array();
  for (TeamQueueView team : fleet.Queue()) {
    if (team.name.empty()) team.name = "operator";
    if (all) {
      AppendTeam(team, true, writer);
    } else if (team.team == own_team) {
      own = std::move(team);
    } else {
      others.running += team.running;
      others.waiting += team.waiting;
    }
  }
  if (!all) AppendTeam(own, call.scope.reach != Reach::kOwn, writer);
  writer.EndArray();
  if (all) return;
  writer.Key("other_teams").Object().Field("running", others.running).Field("waiting", others.waiting);
  writer.EndObject();
}

void AppendRequests(const StatusContext& context, const Call& call, size_t most, JsonWriter& writer) {
  const Nanos now = context.clock.Monotonic();
  size_t total = 0;
  writer.Key("requests").Object().Key("data").Array();
  for (const LiveRequest& request : context.status.live) {
    if (!call.scope.Covers(request.team, request.key) || ++total > most) continue;
    const TokenCounts counts = request.ticket->counts();
    writer.Object().Field("id", request.ticket->id()).Field("model", request.model);
    writer.Field("team", request.team_name.empty() ? "operator" : request.team_name);
    writer.Field("state", request.state).Field("prompt_tokens", counts.prompt);
    writer.Field("tokens", counts.emitted).Field("age_ms", (now - request.arrived) / kMillisecond);
    writer.EndObject();
  }
  writer.EndArray().Field("total", static_cast<int64_t>(total)).EndObject();
}

double Rounded(double value) {
  return static_cast<double>(static_cast<int64_t>(value * 10 + 0.5)) / 10;
}

void AppendPool(const StatusContext& context, JsonWriter& writer) {
  writer.Key("pool").Object().FieldNumber("tokens_per_second",
                                          Rounded(context.status.token_rate.PerSecond()));
  writer.FieldNumber("computed_per_second", Rounded(context.status.computed_rate.PerSecond()));
  writer.Field("running", static_cast<int64_t>(context.fleet.Running()));
  writer.Field("waiting", static_cast<int64_t>(context.fleet.Waiting())).EndObject();
}

// How many requests to list; nothing if it is not a number.
std::optional<size_t> MostRequests(const HttpRequest& request) {
  const std::string text = QueryValue(request, "requests");
  if (text.empty()) return kMostRequests;
  size_t most = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), most);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return std::min(most, kMostRequests);
}

}  // namespace

void SendLive(const StatusContext& context, const Call& call) {
  const auto most = MostRequests(call.request);
  if (!most) return call.SendError(InvalidField("requests", "'requests' must be a number: how many to list"));
  const std::string reason = context.NotReady();
  const auto engines = context.fleet.Engines();
  std::string out;
  JsonWriter writer(out);
  writer.Object().Field("object", "live").Field("version", PENSTOCK_VERSION);
  writer.FieldNumber("at", FractionalSeconds(context.clock.Wall()));
  writer.Field("uptime_s", (context.clock.Monotonic() - context.status.started) / kSecond);
  writer.FieldBool("ready", reason.empty())
      .Field("reason", reason)
      .FieldBool("draining", context.status.draining);
  AppendPool(context, writer);
  writer.Key("engines").Array();
  for (const EngineView& engine : engines) AppendEngine(call, engine, writer);
  writer.EndArray();
  AppendModels(context.models, call, engines, writer);
  AppendTeams(context.fleet, call, writer);
  AppendRequests(context, call, *most, writer);
  if (May(call.principal.role, Capability::kReadStatus)) AppendWarnings(writer);
  writer.EndObject();
  call.SendJson(std::move(out));
}

}  // namespace penstock::gateway
