// Member: one engine in the registry, connected or remembered.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "engine/wire.pb.h"
#include "fleet/placement/engine_key.h"
#include "fleet/placement/placement.h"
#include "fleet/placement/profile.h"
#include "fleet/registry/engine_view.h"
#include "fleet/registry/health.h"

namespace penstock {

constexpr Nanos kLongestStep = 3600 * kSecond;  // an engine that reports more made a mistake

// What jobs occupy on an engine.
struct Occupancy {
  uint32_t jobs = 0;
  uint32_t sequences = 0;
  uint32_t pages = 0;    // of prompts that it has not admitted yet: its own reports do not count them
  uint64_t prefill = 0;  // prompt tokens that it has not computed yet
  uint64_t context = 0;  // positions that its sequences hold

  Occupancy& operator+=(const Occupancy& other);
  Occupancy& operator-=(const Occupancy& other);
  bool operator==(const Occupancy&) const = default;
};

// Whoever changes anything that CandidateFor depends on calls Touch.
class Member {
 public:
  // `touched` outlives the member.
  Member(EngineKey connection, std::vector<Member*>& touched) : key(connection), touched_(touched) {
    Touch();
  }

  const EngineKey key;
  size_t index = 0;                         // among the members; kept by Members
  bool open = true;                         // its connection lives
  wire::Hello hello;                        // no name: it has not introduced itself yet
  wire::Load load;                          // as last reported
  Nanos heard = 0;                          // time of its last message
  bool set_aside = false, leaving = false;  // by an operator; it is about to end
  uint64_t moving = 0;                      // the job that it was asked to release; 0: none
  Health health;
  std::string trouble;                                          // the last fault, for people
  std::map<std::string, wire::ModelState, std::less<>> models;  // without those that it unloaded
  std::map<std::string, Nanos, std::less<>> proved;             // by model: when it last passed its canaries
  std::map<std::string, Profile, std::less<>> profiles;         // by model

  const std::string& name() const { return hello.engine(); }
  bool connected() const { return open && !name().empty(); }
  // The sum of its jobs' assignments, which change it (fleet/pool/assignment.h).
  const Occupancy& occupied() const { return occupied_; }
  // How many sequences it may run now.
  uint32_t MayRun() const {
    return health.Limit(
        std::max(load.max_sequences() > 0 ? load.max_sequences() : hello.max_sequences(), 1U));
  }
  bool takes_jobs() const { return connected() && !set_aside && !leaving; }
  bool HasRoom() const { return takes_jobs() && occupied_.sequences < MayRun(); }
  bool Takes(std::string_view model) const {
    return hello.takes().empty() || std::ranges::find(hello.takes(), model) != hello.takes().end();
  }

  const wire::ModelState* Find(std::string_view model) const {
    const auto found = models.find(model);
    return found == models.end() ? nullptr : &found->second;
  }
  // `variant` outlives the candidate.
  Candidate CandidateFor(std::string_view variant) const;
  EngineView View() const;

  void Touch() {
    if (!std::exchange(is_touched_, true)) touched_.push_back(this);
  }

 private:
  friend class Assignment;
  friend class Members;

  Occupancy occupied_;
  std::vector<Member*>& touched_;
  bool is_touched_ = false;
};

}  // namespace penstock
