// Whether a restarted engine is back, according to the gateway.
#pragma once

#include <sys/types.h>

#include <boost/json.hpp>
#include <string_view>

#include "app/common/json_get.h"

namespace penstock {

struct Settled {
  enum class State { kNotYet, kReady, kFailed };
  State state = State::kNotYet;
  std::string errors{};  // of models that it could not load
};

// kReady: it is connected as a process other than `old`, loads no more models, and has a model that passed
// its canary checks, or no model at all. `status`: the answer of GET /admin/v1/status.
inline Settled Settle(const boost::json::object& status, std::string_view engine, pid_t old) {
  for (const auto& value : GetArray(status, "engines")) {
    if (!value.is_object() || GetText(value.get_object(), "name") != engine) continue;
    const auto& one = value.get_object();
    if (!GetBool(one, "connected") || GetInt(one, "pid") == old) return {};
    const std::string health = GetText(one, "state");
    if (health == "quarantined") return {.state = Settled::State::kFailed, .errors = GetText(one, "why")};
    Settled settled;
    bool ready = false;
    for (const auto& each : GetArray(one, "models")) {
      const auto& model = each.get_object();
      const std::string state = GetText(model, "state");
      if (state == "loading") return {};
      ready |= state == "ready";
      if (state == "failed") settled.errors += (settled.errors.empty() ? "" : "; ") + GetText(model, "error");
    }
    if (ready && health == "proving") return {};
    settled.state = settled.errors.empty() || ready ? Settled::State::kReady : Settled::State::kFailed;
    return settled;
  }
  return {};
}

}  // namespace penstock
