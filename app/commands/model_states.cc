#include <unistd.h>

#include "app/client/cloud.h"
#include "app/commands/model_parts.h"
#include "app/common/json_get.h"
#include "base/clock.h"

namespace penstock::model_command {

std::map<std::string, ServedState> StatesOf(const Cloud& cloud) {
  std::map<std::string, ServedState> states;
  if (const auto models = cloud.Get("/admin/v1/models"); models.has_value()) {
    for (const auto& value : GetArray(*models, "data")) {
      const auto& model = value.as_object();
      const std::string error = GetText(model, "error");
      const std::string state = !GetBool(model, "served") ? "unloaded"
                                : GetBool(model, "ready") ? "ready"
                                : error.empty()           ? "loading"
                                                          : "failed";
      states[GetText(model, "name")] = {state, error};
    }
  }
  return states;
}

Result<double> WaitUntilReady(const Cloud& cloud, const std::string& name) {
  const Nanos began = SystemClock().Monotonic();
  for (const Nanos give_up = began + 600 * kSecond; SystemClock().Monotonic() < give_up; usleep(100'000)) {
    const auto states = StatesOf(cloud);
    const auto found = states.find(name);
    if (found == states.end()) return Fail(Code::kUnavailable, "the cloud no longer answers");
    if (found->second.state == "failed")
      return Fail(Code::kUnavailable, "{} did not load: {}", name, found->second.error);
    if (found->second.state == "ready") return static_cast<double>(SystemClock().Monotonic() - began) / 1e9;
  }
  return Fail(Code::kDeadline, "{} is still loading: see `penstock status`", name);
}

std::map<std::string, ServedState> StatesIfRunning(const Config& config) {
  if (!CloudRuns(config)) return {};
  const auto cloud = Cloud::OpenLocal(config);
  return cloud.has_value() ? StatesOf(*cloud) : std::map<std::string, ServedState>();
}

void AnnounceToCloud(const Config& config, const std::string& name) {
  if (!CloudRuns(config)) {
    fmt::print(stderr, "to serve it: penstock up\n");
    return;
  }
  const auto cloud = Cloud::OpenLocal(config);
  const auto answer =
      cloud.has_value() ? cloud->Post("/admin/v1/models/rescan", {}) : std::unexpected(cloud.error());
  if (!answer.has_value()) {
    fmt::print(stderr, "could not notify the running cloud: {}\n", answer.error().message);
    return;
  }
  fmt::print(stderr, "the running cloud is loading it\n");
  const auto seconds = WaitUntilReady(*cloud, name);
  if (seconds.has_value()) {
    fmt::print(stderr, "ready after {:.1f} s. Try: penstock chat {}\n", *seconds, name);
  } else {
    fmt::print(stderr, "it cannot be used yet: {}\n", seconds.error().message);
  }
}

}  // namespace penstock::model_command
