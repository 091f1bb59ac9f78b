// Engines: what each is and does, and the orders that an operator gives them.
#include "gateway/admin/engines.h"

#include "engine/wire_error.h"
#include "fleet/registry/guarantees.h"
#include "gateway/admin/routes.h"
#include "gateway/request/model_json.h"

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

}  // namespace

void AppendEngines(std::string_view key, const Fleet& fleet, JsonWriter& writer) {
  writer.Key(key).Array();
  for (const EngineView& engine : fleet.Engines()) AppendEngine(engine, writer);
  writer.EndArray();
}

static void SendEngines(const Fleet& fleet, const Call& call) {
  std::string out;
  JsonWriter writer(out);
  writer.Object();
  AppendEngines("data", fleet, writer);
  writer.EndObject();
  call.SendJson(std::move(out));
}

std::vector<Route> EngineRoutes(Fleet& fleet) {
  using enum Capability;
  const auto order = [&fleet](Status (*give)(Fleet&, std::string_view engine)) {
    return [&fleet, give](Call& call) {
      if (const Status done = give(fleet, call.argument); !done) return call.SendError(done.error());
      SendEngines(fleet, call);
    };
  };
  return {
      {Method::kGet, "/admin/v1/engines", kReadStatus, [&fleet](Call& call) { SendEngines(fleet, call); }},
      {Method::kPost, "/admin/v1/engines/{}/drain", kManageEngines,
       order([](Fleet& all, std::string_view engine) { return all.SetDraining(engine, true); })},
      {Method::kPost, "/admin/v1/engines/{}/resume", kManageEngines,
       order([](Fleet& all, std::string_view engine) { return all.SetDraining(engine, false); })},
      {Method::kPost, "/admin/v1/engines/{}/restart", kManageEngines,
       order([](Fleet& all, std::string_view engine) { return all.Restart(engine); })},
  };
}

}  // namespace penstock::gateway
