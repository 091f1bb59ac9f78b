// Actions: what a pool wants done, as plain data. Whoever feeds the pool its events carries them out, in
// order.
#pragma once

#include <google/protobuf/arena.h>
#include <spdlog/common.h>

#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "engine/wire.pb.h"
#include "fleet/placement/engine_key.h"
#include "fleet/pool/job.h"

namespace penstock {

// ---- for engines ----

struct SendToEngine {
  EngineKey engine = 0;
  const wire::ToEngine* message = nullptr;  // valid until the next call of ActionQueue::Next
};
struct Disconnect {
  EngineKey engine = 0;
};

// ---- for whoever submitted a job ----

struct TellEvent {
  JobId job = 0;
  JobEvent event = JobEvent::kQueued;
  std::string why;  // for people
};
struct TellPlaced {
  JobId job = 0;
  std::string engine, model, path, contract, kernel;  // as in Placed
  bool exact_usage = true;
};
struct TellTokens {
  JobId job = 0;
  const wire::TokenEvent* event = nullptr;  // part of the message that was heard
  bool last = false;                        // nothing follows for this job
};
struct TellCharge {
  JobId job = 0;
  Nanos chip_time = 0;
  uint32_t computed = 0;  // tokens
};
// The job ended; nothing follows.
struct TellFailed {
  JobId job = 0;
  Error error;
};

// ---- for the caller itself ----

// Call Pool::Turn soon, after events that are there already.
struct CallTurn {};
// Call Pool::Tick at this time, instead of at any that was named before.
struct CallTick {
  Nanos at = 0;
};
// After Pool::Drain: no job is left.
struct Drained {};
// The right answers to the canaries, for the next Pool.
struct KeepTruths {
  std::string json;
};
struct LogLine {
  spdlog::level::level_enum level = spdlog::level::info;
  std::string text;
};

using Action = std::variant<SendToEngine, Disconnect, TellEvent, TellPlaced, TellTokens, TellCharge,
                            TellFailed, CallTurn, CallTick, Drained, KeepTruths, LogLine>;

class ActionQueue {
 public:
  void Add(Action action) { queue_.push_back(std::move(action)); }
  // A message to fill in before the next call.
  wire::ToEngine& Send(EngineKey engine) {
    has_messages_ = true;
    auto* message = google::protobuf::Arena::CreateMessage<wire::ToEngine>(&arena_);
    queue_.emplace_back(SendToEngine{engine, message});
    return *message;
  }
  // Empty when all was taken.
  std::optional<Action> Next() {
    if (queue_.empty()) {
      if (std::exchange(has_messages_, false)) arena_.Reset();
      return std::nullopt;
    }
    Action action = std::move(queue_.front());
    queue_.pop_front();
    return action;
  }

 private:
  static google::protobuf::ArenaOptions OnBlock(std::vector<char>& block) {
    google::protobuf::ArenaOptions options;
    options.initial_block = block.data();
    options.initial_block_size = block.size();
    return options;
  }

  std::deque<Action> queue_;
  std::vector<char> block_ =
      std::vector<char>(64 << 10);  // the arena's first: steady state allocates nothing
  google::protobuf::Arena arena_{OnBlock(block_)};
  bool has_messages_ = false;
};

}  // namespace penstock
