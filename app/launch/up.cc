#include "app/launch/up.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <filesystem>

#include "app/backup/scratch.h"
#include "app/backup/upgrade.h"
#include "app/client/endpoint.h"
#include "app/launch/announcer.h"
#include "app/launch/children.h"
#include "app/launch/engines.h"
#include "app/launch/listen.h"
#include "app/launch/supervisor.h"
#include "app/launch/tls_files.h"
#include "app/machine/cpu_group.h"
#include "gateway/http/tls.h"

namespace penstock {
namespace {

// The URL at which commands on this machine reach the cloud. The system may have chosen the port.
std::string UrlOf(const Config& config, int listener) {
  const std::string url = config.ListenUrl();
  sockaddr_storage name{};
  socklen_t size = sizeof name;
  if (getsockname(listener, reinterpret_cast<sockaddr*>(&name), &size) != 0) return url;
  const auto port = name.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(name).sin6_port
                                               : reinterpret_cast<sockaddr_in&>(name).sin_port;
  return url.substr(0, url.rfind(':') + 1) + std::to_string(ntohs(port));
}

// Empty: plain HTTP. An unusable certificate is reported here, before any child starts.
Result<std::string> FingerprintOf(const TlsFiles& tls) {
  if (!tls.on()) return "";
  PENSTOCK_ASSIGN(const auto context, gateway::TlsContext::Load(tls.certificate, tls.key));
  return context->fingerprint();
}

}  // namespace

Result<int> Up(const LoadedConfig& loaded) {
  const Config& config = loaded.config;
  PENSTOCK_ASSIGN(const DataDir data, DataDir::Open(config.data));
  PENSTOCK_TRY(data.RequireOwner());
  PENSTOCK_ASSIGN(const TlsFiles tls, PrepareTls(config));
  PENSTOCK_ASSIGN(const EnginePlans plans, PlanEngines(loaded, LookAtPremises()));
  PENSTOCK_ASSIGN(const Fd lock, data.Lock());
  PENSTOCK_ASSIGN(const Fd listener, Listen(config.gateway.listen));
  PENSTOCK_ASSIGN(const std::string socket, data.EngineSocket());
  PENSTOCK_TRY(RequireDisk(data.path(), 64ULL << 20, "the usage records"));
  PENSTOCK_TRY(RequireStore(data));
  RemovePartialsIn(data.Backups());
  RemovePartials(data.path());
  PENSTOCK_TRY(UpgradeData(data));
  PENSTOCK_ASSIGN(const std::string fingerprint, FingerprintOf(tls));
  const std::string url = UrlOf(config, listener.get());
  std::error_code ignored;
  const auto certificate = tls.on() ? std::filesystem::absolute(tls.certificate, ignored).string() : "";
  PENSTOCK_TRY(WriteNote(data.path(), {.url = url, .certificate = certificate}));
  const bool first_start = !std::filesystem::exists(data.OperatorKeyFile());
  CpuGroups groups;
  std::vector<ChildSpec> children = {GatewayChild(loaded, data, listener.get(), socket)};
  for (const auto& plan : plans.engines) {
    PENSTOCK_ASSIGN(ChildSpec child, EngineChild(plan, data, socket, groups));
    children.push_back(std::move(child));
  }
  Introduce(config, data, url, fingerprint, plans);
  for (const auto& warning : plans.warnings) fmt::print(stderr, "penstock: {}\n", warning);
  const Announcer announcer(config, url, data, first_start);
  const auto status = Supervise(children);
  RemoveNote(data.path());
  return status;
}

}  // namespace penstock
