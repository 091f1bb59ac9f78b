// Member: one engine in the fleet's registry, connected or remembered.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "engine/wire.pb.h"
#include "fleet/fleet.h"
#include "fleet/placement/placement.h"
#include "fleet/placement/profile.h"
#include "fleet/registry/engine_link.h"
#include "fleet/registry/health.h"

namespace penstock {

struct Member {
  uint32_t key = 0;                         // of this connection; never used twice
  std::shared_ptr<EngineLink> link;         // null: gone
  wire::Hello hello;                        // no name: it has not said hello yet
  wire::Load load;                          // as last reported
  Nanos heard = 0;                          // Clock::Monotonic of its last message
  bool set_aside = false, leaving = false;  // by an operator; it is about to end
  uint32_t jobs = 0, sequences = 0;         // sent and not ended
  uint64_t moving = 0;                      // the job that it was asked to let go of; 0: none
  uint32_t promised_pages = 0;              // of prompts sent and not admitted yet: not in `load`
  double prefill = 0, context = 0;          // of those: prompt tokens not computed yet, positions held
  Health health;
  std::string trouble;                                          // the last, for people
  std::map<std::string, wire::ModelState, std::less<>> models;  // unloaded ones are not in it
  std::map<std::string, Nanos, std::less<>> proved;             // models: when last
  std::map<std::string, Profile, std::less<>> profiles;         // by model

  const std::string& name() const { return hello.engine(); }
  bool connected() const { return link != nullptr && !name().empty(); }
  // How many sequences it may run now.
  uint32_t MayRun() const {
    return health.Limit(
        std::max(load.max_sequences() > 0 ? load.max_sequences() : hello.max_sequences(), 1U));
  }
  bool takes_jobs() const { return connected() && !set_aside && !leaving; }
  bool HasRoom() const { return takes_jobs() && sequences < MayRun(); }
  bool Takes(std::string_view model) const {
    return hello.takes().empty() || std::ranges::find(hello.takes(), model) != hello.takes().end();
  }

  const wire::ModelState* Find(std::string_view model) const {
    const auto found = models.find(model);
    return found == models.end() ? nullptr : &found->second;
  }
  Seat SeatFor(std::string_view model) const;
  EngineView View() const;
};

inline Seat Member::SeatFor(std::string_view model) const {
  Seat seat;
  seat.sequences = sequences;
  seat.max_sequences = MayRun();
  seat.prefill = prefill;
  seat.context = context;
  seat.free_pages = load.free_pages() - std::min(load.free_pages(), promised_pages);
  const wire::ModelState* state = takes_jobs() ? Find(model) : nullptr;
  if (state == nullptr) return seat;
  seat.longest = state->context();
  seat.stops_exactly = hello.abilities().reclaim();
  if (const auto profile = profiles.find(model); profile != profiles.end()) {
    seat.speed = profile->second.speed();
    seat.chunk = profile->second.chunk();
  }
  seat.model = state->state() == wire::ModelState::READY
                   ? (proved.contains(model) ? Seat::Model::kReady : Seat::Model::kLoading)
               : state->state() == wire::ModelState::FAILED ? Seat::Model::kFailed
                                                            : Seat::Model::kLoading;
  return seat;
}

inline EngineView Member::View() const {
  EngineView view;
  view.name = name();
  view.runner = hello.runner();
  view.chip = hello.chip();
  view.kernel = hello.kernel();
  view.place = hello.place();
  view.note = hello.note();
  view.pid = hello.pid();
  view.memory_bytes = hello.memory_bytes();
  view.connected = connected();
  view.health = HealthWord(health.state());
  view.why = health.why().empty() ? trouble : health.why();
  view.may_run = connected() ? MayRun() : 0;
  view.contract = hello.contract();
  view.abilities = hello.abilities();
  view.external = hello.external();
  view.draining = set_aside || leaving;
  view.load = load;
  view.sent = jobs;
  for (const auto& [name, state] : models) view.models.push_back(state);
  for (const auto& [model, profile] : profiles)
    view.profiles.push_back({model, profile.speed(), profile.drift(), profile.steps()});
  return view;
}

}  // namespace penstock
