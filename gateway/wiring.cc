#include "gateway/wiring.h"

#include <iterator>

#include "gateway/console.h"
#include "gateway/dialects/openai/errors.h"
#include "gateway/dialects/openai/routes.h"

namespace penstock::gateway {
namespace {

ControlTokens PolicyOf(const GatewayOptions& options) {
  return options.control_tokens == "parse" ? ControlTokens::kParse : ControlTokens::kText;
}

void Add(std::vector<Route> more, std::vector<Route>& routes) {
  std::ranges::move(more, std::back_inserter(routes));
}

std::vector<Route> RoutesOf(Wiring& wiring, const GatewayOptions& options, Accounts& accounts, Fleet& fleet,
                            Models& models, Log& log, SettingChange change, const Clock& clock) {
  std::vector<Route> routes = ConsoleRoutes();
  Add(StatusRoutes(wiring.pages, options.open_metrics), routes);
  Add(OpenAiRoutes(wiring.generations), routes);
  Add(UsageRoutes(accounts, clock), routes);
  Add(KeyRoutes(accounts), routes);
  Add(EngineRoutes(fleet), routes);
  Add(ModelRoutes(models, fleet, options.rescan), routes);
  Add(LogRoutes(wiring.log_control, log), routes);
  Add(SettingRoutes(std::move(change), log), routes);
  return routes;
}

}  // namespace

HttpConnectionLimits LimitsOf(const GatewayOptions& options) {
  return {.http = {.header_bytes = options.max_header_bytes, .body_bytes = options.max_body_bytes},
          .bodies = {.total = options.body_memory, .per_key = options.body_memory_per_key},
          .keep_alive_timeout = options.keep_alive_timeout,
          .header_timeout = options.header_timeout,
          .body_timeout = options.body_timeout,
          .write_timeout = options.write_timeout};
}

WebPolicy PolicyOf(const GatewayOptions& options, bool loopback) {
  return {.tls = !options.tls_certificate.empty(),
          .loopback = loopback,
          .hosts = options.hosts,
          .cors_origins = options.cors_origins,
          .hsts = options.hsts};
}

Wiring::Wiring(boost::asio::io_context& io, PromptWorkers& workers, const Clock& clock,
               const GatewayOptions& options, Accounts& accounts, Fleet& fleet, Models& models, Log& log,
               SettingChange change)
    : log_control(
          io, clock, options.log_level, [&log](LogLevel level) { log.SetLevel(level); },
          [&fleet](LogLevel level) { fleet.SetLogLevel(LogLevelName(level)); }),
      encoder(io, workers, clock),
      generations{.io = io,
                  .workers = workers,
                  .encoder = encoder,
                  .clock = clock,
                  .accounts = accounts,
                  .fleet = fleet,
                  .models = models,
                  .metrics = metrics,
                  .log = log,
                  .status = status,
                  .max_waiting = options.max_waiting,
                  .queue_timeout = options.queue_timeout,
                  .default_tokens = options.default_max_tokens,
                  .max_tokens = options.max_tokens,
                  .control_tokens = PolicyOf(options)},
      pages{.clock = clock,
            .accounts = accounts,
            .fleet = fleet,
            .models = models,
            .status = status,
            .log_control = log_control,
            .metrics = metrics,
            .data_dir = options.data_dir},
      router(RoutesOf(*this, options, accounts, fleet, models, log, std::move(change), clock), accounts,
             metrics, log, OpenAiErrorResponse) {}

void Wiring::Apply(const GatewayOptions& before, const GatewayOptions& now) {
  generations.queue_timeout = now.queue_timeout;
  generations.max_waiting = now.max_waiting;
  generations.default_tokens = now.default_max_tokens;
  generations.max_tokens = now.max_tokens;
  generations.control_tokens = PolicyOf(now);
  generations.fleet.SetMaxWaiting(now.max_waiting);
  if (now.log_level == before.log_level) return;
  log_control.SetGateway(now.log_level, 0);
  log_control.SetEngines(now.log_level, 0);
}

}  // namespace penstock::gateway
