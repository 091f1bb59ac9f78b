// Wiring: what the requests of one gateway share, and the routes that use it.
// Threads: the io thread.
#pragma once

#include <boost/asio/io_context.hpp>

#include "gateway/admin/routes.h"
#include "gateway/gateway.h"
#include "gateway/http/router.h"
#include "gateway/observe/gateway_status.h"
#include "gateway/observe/log.h"
#include "gateway/observe/log_control.h"
#include "gateway/observe/metrics.h"
#include "gateway/request/generation.h"
#include "gateway/request/models.h"
#include "gateway/request/prompt_workers.h"

namespace penstock::gateway {

// `options` as connections and the router see them.
HttpConnectionLimits LimitsOf(const GatewayOptions& options);
WebPolicy PolicyOf(const GatewayOptions& options, bool loopback);

struct Wiring {
  // Everything outlives this; calls and generations end before it.
  Wiring(boost::asio::io_context& io, PromptWorkers& workers, const Clock& clock,
         const GatewayOptions& options, Accounts& accounts, Fleet& fleet, Models& models, Log& log,
         SettingChange change);
  Wiring(const Wiring&) = delete;
  Wiring& operator=(const Wiring&) = delete;

  // Takes over what can change while the gateway runs.
  void Apply(const GatewayOptions& before, const GatewayOptions& now);

  Metrics metrics;
  LogControl log_control;
  GatewayStatus status;
  PromptEncoder encoder;
  GenerationContext generations;
  StatusContext pages;
  Router router;
};

}  // namespace penstock::gateway
