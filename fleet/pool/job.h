// Job: what the gateway asks of the fleet, and what it hears of it. Plain data.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "engine/wire.pb.h"

namespace penstock {

using JobId = uint64_t;

// Whose job it is, from the outermost group to the innermost; today the team alone. Not empty.
using OwnerPath = std::vector<uint64_t>;

struct Job {
  // `request` is filled in by the fleet. `model` may name a family: any served variant may answer.
  wire::Submit submit;
  std::vector<std::string> variants = {};  // of a family, those that may be used; empty: all
  OwnerPath owner;                         // the last one's virtual counter pays
  std::string owner_name;                  // for people
  uint8_t tier = 0;                        // how urgent; 0 is the usual
  bool external_allowed = false;           // its text may go to engines outside the organisation
  Nanos deadline = 0;                      // Clock::Monotonic; 0: none. It limits waiting only.
};

enum class JobEvent : uint8_t { kQueued, kSent, kAdmitted, kPaused, kResumed, kRequeued };

// Where a job was sent.
struct Placed {
  std::string_view engine, model;     // the variant of the model that was asked for
  std::string_view path;              // its file
  std::string_view contract, kernel;  // of the numbers computed there (kernels/kernels.h); the code that does
  bool exact_usage = true;            // the engine counts its tokens itself
};

struct TeamQueueView {
  uint64_t team = 0;
  std::string name;
  uint32_t waiting = 0, running = 0;
  double virtual_seconds = 0;  // its VTC counter, chip seconds
  uint64_t chip_ns = 0;        // measured, since start
  uint64_t tokens = 0;         // that engines emitted for it, since start
};

}  // namespace penstock
