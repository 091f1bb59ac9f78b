// Settings that change while the gateway runs.
#include "gateway/admin/admin_fields.h"
#include "gateway/admin/routes.h"
#include "gateway/common/json_out.h"

namespace penstock::gateway {
namespace {

void ChangeSetting(const SettingChange& change, Log& log, const Call& call) {
  auto body = ReadBody(call);
  if (!body) return;
  Fields fields(body->get_object());
  const auto name = fields.String("name"), value = fields.String("value");
  if (!name) fields.Fault("name", "missing: the setting, such as gateway.queue_timeout");
  if (!value) fields.Fault("value", "missing: a text, as in penstock.toml");
  if (!Accept(call, fields)) return;
  if (const Status changed = change(*name, *value); !changed) return call.SendError(changed.error());
  log.Note("setting", fmt::format("{} = {}", *name, *value));
  std::string out;
  JsonWriter writer(out);
  writer.Object().Field("name", *name).Field("value", *value).EndObject();
  call.SendJson(std::move(out));
}

}  // namespace

std::vector<Route> SettingRoutes(SettingChange change, Log& log) {
  return {{Method::kPost, "/admin/v1/settings", Capability::kManageSettings,
           [change = std::move(change), &log](Call& call) { ChangeSetting(change, log, call); }}};
}

}  // namespace penstock::gateway
