// The pages of no dialect: whether it lives, whether it is ready, what it measures.
#include "gateway/api.h"

namespace penstock::gateway {
namespace {

HttpResponse Text(std::string body, int status = 200) {
  HttpResponse response;
  response.status = status;
  response.content_type = "text/plain; charset=utf-8";
  response.body = std::move(body);
  return response;
}

Gauges Measure(const Service& service) {
  Gauges gauges;
  gauges.connections = service.connections ? service.connections() : 0;
  gauges.open_streams = service.open_requests;
  gauges.waiting = service.fleet.Waiting();
  gauges.running = service.fleet.Running();
  gauges.store_healthy = service.accounts.healthy();
  gauges.ready = service.NotReady().empty();
  gauges.uptime = service.clock.Monotonic() - service.started;
  gauges.fleet = service.fleet.Stats();
  gauges.engines = service.fleet.Engines();
  gauges.queue = service.fleet.Queue();
  return gauges;
}

}  // namespace

std::string Service::NotReady() const {
  if (draining) return "the server is stopping";
  if (!accounts.healthy()) return "usage cannot be stored: " + accounts.fault();
  if (models.entries().empty()) return "no model is installed; penstock model pull gets one";
  if (!models.AnyReady()) return "no engine has a model ready yet";
  return {};
}

void HandleLive(Call& call) {
  call.Send(Text("ok\n"));
}

void HandleReady(Call& call) {
  const std::string why = call.service.NotReady();
  call.Send(why.empty() ? Text("ready\n") : Text(why + "\n", 503));
}

void HandleMetrics(Call& call) {
  HttpResponse response = Text(call.service.metrics.Render(Measure(call.service)));
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  call.Send(std::move(response));
}

}  // namespace penstock::gateway
