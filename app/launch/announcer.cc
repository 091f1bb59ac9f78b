#include "app/launch/announcer.h"

#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "app/client/cloud.h"
#include "app/client/endpoint.h"
#include "app/common/json_get.h"
#include "app/models/model_store.h"
#include "base/clock.h"

namespace penstock {
namespace {

// The URL for other machines: with this machine's host name if the cloud listens on every interface.
std::string UrlFromOutside(const Config& config, const std::string& url) {
  const std::string listen = HostOf(config.gateway.listen);
  char name[256] = {};
  const bool everywhere = listen == "0.0.0.0" || listen == "::";
  if (!everywhere || gethostname(name, sizeof name - 1) != 0) return url;
  return url.substr(0, url.find("://") + 3) + name + url.substr(url.rfind(':'));
}

// The gateway process creates the operator key at its first start; the user who starts the cloud sees it only
// once. It is not printed to a service's journal, where it would stay (systemd sets JOURNAL_STREAM).
void ShowNewOperatorKey(const DataDir& data) {
  const auto key = ReadTextFile(data.OperatorKeyFile());
  if (!key.has_value()) return;
  if (std::getenv("JOURNAL_STREAM") != nullptr) {
    fmt::print(stderr, "penstock: the operator key is in {}, readable only by this user\n",
               data.OperatorKeyFile());
    return;
  }
  fmt::print(stderr, "penstock: operator key, shown only once (stored in {}, readable only by you):\n  {}\n",
             data.OperatorKeyFile(), *key);
}

// Models that an engine could not load, and why; empty if there are none or the gateway does not answer. The
// timeout is short: the supervisor holds the listening socket, so a request waits while no gateway runs.
std::string FailedModels(const Config& config) {
  std::string failed;
  const auto cloud = Cloud::OpenLocal(config);
  const auto answer =
      cloud.has_value() ? cloud->Get("/admin/v1/models", 2 * kSecond) : std::unexpected(cloud.error());
  if (!answer.has_value()) return failed;
  for (const auto& value : GetArray(*answer, "data")) {
    const std::string error = value.is_object() ? GetText(value.get_object(), "error") : "";
    if (!error.empty()) failed += fmt::format("\n  {}", error);
  }
  return failed;
}

}  // namespace

void Introduce(const Config& config, const DataDir& data, const std::string& url,
               const std::string& fingerprint, const EnginePlans& plans) {
  std::string names;
  for (const auto& model : ModelStore(data).Installed()) names += (names.empty() ? "" : ", ") + model.name;
  fmt::print(stderr, "Penstock\n  url     {}\n  data    {}\n", url, data.path());
  if (!fingerprint.empty()) fmt::print(stderr, "  tls     SHA-256 fingerprint {}\n", fingerprint);
  if (!IsLoopback(HostOf(config.gateway.listen))) {
    const bool pinned = config.tls_self_signed;
    fmt::print(stderr, "  login   penstock login {}{}\n", UrlFromOutside(config, url),
               pinned ? " --fingerprint " + fingerprint : "");
    if (fingerprint.empty())
      fmt::print(stderr, "  warning plain HTTP: anyone on the network path can read keys\n");
  }
  if (config.logs == "files") fmt::print(stderr, "  logs    {}\n", data.Logs());
  for (const auto& plan : plans.engines) {
    const std::string place = plan.Place();
    if (plans.engines.size() > 1 || !place.empty())
      fmt::print(stderr, "  engine  {}{}{}\n", plan.name, place.empty() ? "" : ": ", place);
  }
  fmt::print(stderr, "  models  {}\n", names.empty() ? "none yet: penstock model pull smollm2-135m" : names);
}

Announcer::Announcer(const Config& config, const std::string& url, DataDir data, bool first_start)
    : config_(config), data_(std::move(data)), first_start_(first_start) {
  config_.url = url;  // the cloud that starts here, even if the settings name another one for commands
  // Only the supervisor's thread may receive signals.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { Run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Announcer::~Announcer() {
  stop_ = true;
  thread_.join();
}

void Announcer::Run() {
  const Nanos began = SystemClock().Monotonic();
  std::string printed;
  const Endpoint endpoint = LocalEndpoint(config_);
  while (!stop_) {
    std::string why = WhyNotReady(endpoint);
    if (first_start_ && std::filesystem::exists(data_.OperatorKeyFile())) {
      ShowNewOperatorKey(data_);
      first_start_ = false;
    }
    const double seconds = static_cast<double>(SystemClock().Monotonic() - began) / 1e9;
    if (why.empty()) {
      fmt::print(stderr, "penstock: ready after {:.1f} s: the API is at {}/v1\n", seconds, endpoint.url);
      return;
    }
    if (seconds > 2) why += FailedModels(config_);
    if (seconds > 2 && why != printed) {
      fmt::print(stderr, "penstock: not ready yet: {}\n", why);
      printed = why;
    }
    for (int tick = 0; tick < 10 && !stop_; ++tick)
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

}  // namespace penstock
