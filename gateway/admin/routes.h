// The routes beside the dialects, each group with what its handlers need. All of it outlives the routes.
// What they take and return is gateway/admin/admin.h.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "fleet/fleet.h"
#include "fleet/installed_model.h"
#include "gateway/http/call.h"
#include "gateway/observe/gateway_status.h"
#include "gateway/observe/log.h"
#include "gateway/observe/log_control.h"
#include "gateway/observe/metrics.h"
#include "gateway/request/models.h"
#include "teams/teams.h"

namespace penstock::gateway {

// What pages about the whole gateway read.
struct StatusContext {
  const Clock& clock;
  const Accounts& accounts;
  const Fleet& fleet;
  Models& models;
  const GatewayStatus& status;
  const LogControl& log_control;
  const Metrics& metrics;
  std::string data_dir;

  // Empty: a request would be answered. Else why not.
  std::string NotReady() const;
};

std::vector<Route> KeyRoutes(Accounts& accounts);  // teams, keys, logins, and whom a key speaks for
std::vector<Route> UsageRoutes(const Accounts& accounts, const Clock& clock);
std::vector<Route> ModelRoutes(Models& models, const Fleet& fleet,
                               std::function<std::vector<InstalledModel>()> rescan);
std::vector<Route> EngineRoutes(Fleet& fleet);
// Changes one setting of the running gateway. Errors: kNotFound, kInvalid, kUnsupported: only at the next
// start.
using SettingChange = std::function<Status(std::string_view name, std::string_view value)>;
std::vector<Route> SettingRoutes(SettingChange change, Log& log);
std::vector<Route> LogRoutes(LogControl& control, Log& log);
// /admin/v1/status, /v1/live, and the pages for probes; /metrics needs no key if it is `open`.
std::vector<Route> StatusRoutes(const StatusContext& context, bool open_metrics);

}  // namespace penstock::gateway
