// EngineView: one engine as others see it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/wire.pb.h"
#include "fleet/placement/profile.h"

namespace penstock {

// How fast an engine computes a model, as learnt from its steps.
struct ProfileView {
  std::string model;
  Speed speed;       // as of now
  double drift = 1;  // duration of recent steps, relative to earlier ones
  uint64_t steps = 0;
};

struct EngineView {
  std::string name, runner, chip, kernel;
  std::string place, note;  // for people: where it runs, and what else to know about it
  uint64_t pid = 0, memory_bytes = 0;
  bool connected = false;
  bool draining = false;  // gets no new jobs: it was set aside, or is about to end
  std::string health;     // fleet/registry/health.h: "proving", "good", "recovering", "quarantined"
  std::string why;        // reason for the quarantine, or the last fault
  uint32_t may_run = 0;   // sequences that it gets at once, as its health allows now
  std::string contract;
  wire::Abilities abilities;
  bool external = false;
  wire::Load load;
  uint32_t sent = 0;  // jobs sent and not ended
  std::vector<wire::ModelState> models;
  std::vector<ProfileView> profiles;  // of the models that it has computed

  // One word: "up", "draining", "proving", "recovering", "quarantined", "down".
  std::string_view State() const {
    if (connected && draining) return "draining";
    if (connected && health == "proving" && models.empty()) return "up";  // it has nothing to prove
    return !connected ? "down" : health.empty() || health == "good" ? "up" : std::string_view(health);
  }
};

}  // namespace penstock
