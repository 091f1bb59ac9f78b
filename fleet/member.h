// Member: one engine in the fleet's registry, connected or remembered.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "engine/wire.pb.h"
#include "fleet/engine_link.h"
#include "fleet/fleet.h"
#include "fleet/placement.h"

namespace penstock {

struct Member {
  std::shared_ptr<EngineLink> link;  // null: gone
  wire::Hello hello;                 // no name: it has not said hello yet
  wire::Load load;                   // as last reported
  Nanos heard = 0;                   // Clock::Monotonic of its last message
  uint32_t jobs = 0, sequences = 0;  // sent and not ended
  uint32_t promised_pages = 0;       // of prompts sent and not admitted yet: not in `load`
  std::map<std::string, wire::ModelState, std::less<>> models;  // unloaded ones are not in it

  const std::string& name() const { return hello.engine(); }
  bool connected() const { return link != nullptr && !name().empty(); }
  bool HasRoom() const { return connected() && sequences < std::max(hello.max_sequences(), 1U); }

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
  seat.max_sequences = hello.max_sequences();
  seat.free_pages = load.free_pages() - std::min(load.free_pages(), promised_pages);
  const wire::ModelState* state = connected() ? Find(model) : nullptr;
  if (state == nullptr) return seat;
  seat.model = state->state() == wire::ModelState::READY    ? Seat::Model::kReady
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
  view.pid = hello.pid();
  view.memory_bytes = hello.memory_bytes();
  view.connected = connected();
  view.load = load;
  view.sent = jobs;
  for (const auto& [name, state] : models) view.models.push_back(state);
  return view;
}

}  // namespace penstock
