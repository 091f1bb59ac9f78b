#include "app/launch/await.h"

#include <thread>

#include "app/client/cloud.h"
#include "app/client/settled.h"
#include "base/clock.h"

namespace penstock {

Result<int> AwaitChild(const LoadedConfig& loaded, const ChildOptions& child) {
  constexpr Nanos kPatience = 1800 * kSecond;
  const Nanos until = SystemClock().Monotonic() + kPatience;
  while (SystemClock().Monotonic() < until) {
    const auto cloud = Cloud::OpenLocal(loaded.config);
    const auto status =
        cloud.has_value() ? cloud->Get("/admin/v1/status", 5 * kSecond) : std::unexpected(cloud.error());
    if (status.has_value()) {
      if (child.name.empty()) return 0;
      const Settled settled = Settle(*status, child.name, child.replaces);
      if (settled.state != Settled::State::kNotYet) {
        if (!settled.errors.empty())
          fmt::print(stderr, "penstock: engine {}: {}\n", child.name, settled.errors);
        return settled.state == Settled::State::kReady ? 0 : 1;
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return Fail(Code::kUnavailable, "{} was not back after {} minutes",
              child.name.empty() ? "the gateway" : "engine " + child.name, kPatience / kSecond / 60);
}

}  // namespace penstock
