// How much the gateway and the engines write to their logs.
#include "gateway/admin/log_levels.h"

#include "gateway/admin/admin_fields.h"
#include "gateway/admin/routes.h"

namespace penstock::gateway {
namespace {

void AppendLogPart(std::string_view key, const LogControl::Part& part, JsonWriter& writer) {
  writer.Key(key).Object().Field("level", LogLevelName(part.level));
  writer.Field("for_seconds", (part.left + kSecond - 1) / kSecond).EndObject();
}

}  // namespace

void AppendLogLevels(const LogControl& control, JsonWriter& writer) {
  writer.Object();
  AppendLogPart("gateway", control.gateway(), writer);
  AppendLogPart("engine", control.engines(), writer);
  writer.EndObject();
}

namespace {

void SendLog(const LogControl& control, const Call& call) {
  std::string out;
  JsonWriter writer(out);
  AppendLogLevels(control, writer);
  call.SendJson(std::move(out));
}

void SetLogLevel(LogControl& control, Log& log, const Call& call) {
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
  if (part != "engine") control.SetGateway(*level, lasting);
  if (part != "gateway") control.SetEngines(*level, lasting);
  log.Note("log_level", fmt::format("{} for {}", LogLevelName(*level), part));
  SendLog(control, call);
}

}  // namespace

std::vector<Route> LogRoutes(LogControl& control, Log& log) {
  using enum Capability;
  return {
      {Method::kGet, "/admin/v1/log", kReadStatus, [&control](Call& call) { SendLog(control, call); }},
      {Method::kPost, "/admin/v1/log", kManageLogs,
       [&control, &log](Call& call) { SetLogLevel(control, log, call); }},
  };
}

}  // namespace penstock::gateway
