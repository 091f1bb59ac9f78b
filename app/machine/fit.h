// Fit: whether a model fits a machine, how fast it would be there, and for how many users. Arithmetic on
// plain data; nothing is measured or read here.
//
// Memory follows the engine's own rules (engine/memory.h). Speed is a roofline. A step reads every weight
// once, for any number of users, and the keys and values of each user; or computing takes longer than
// reading:
//
//   step(users) = layers · kLayerTime + users · kv(kChat) / bandwidth
//               + max(weights' bytes / (kReadShare · bandwidth), users · 2 · weights / (kComputeShare ·
//               peak))
//
// The three constants come from measurements of this engine, with the bandwidth and peak measured in the same
// minute (app/machine/fit_test.cc has the figures); the formula is within 30% of those. On other CPUs it is a
// rough estimate.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "app/machine/shape.h"

namespace penstock {

struct FitMachine {
  uint64_t memory = 0, memory_free = 0;  // that processes may use in total, and now; 0: not known
  std::optional<uint64_t> disk_free{};   // where models are kept
  double bandwidth = 0;                  // bytes/s read from memory, measured; 0: not known
  double int8_ops = 0, f32_flops = 0;    // peaks, measured
  // As configured; 0: the engine chooses.
  uint64_t engine_memory = 0, kv_memory = 0;
  int64_t context = 0, max_sequences = 64;
};

struct FitModel {
  uint64_t bytes = 0;                 // of its file; 0: not known
  bool guessed = false;               // `bytes` is only an estimate
  std::optional<ModelShape> shape{};  // nullopt: not known
  double active = 1;                  // without a shape: the share of the weights that one token uses
};

enum class Fits : uint8_t {
  kYes,
  kNotNow,   // it would fit if less memory were in use
  kNoDisk,   // there is not enough disk space for it
  kNo,       // never on this machine
  kUnknown,  // nothing is known of the model's size or of the machine's memory
};

struct Fit {
  Fits fits = Fits::kUnknown;
  uint64_t usable = 0;                     // bytes that an engine may use here, at most
  bool about = true;                       // less exact than the formula: bytes or shape are not known
  double alone = 0, together = 0;          // tokens/s of one user; the sum for kTogether users; 0: not known
  int64_t users = 0, user_context = 0;     // this many users at once with this many tokens each
  int64_t longest = 0, longest_users = 0;  // the longest context of one user, and how many can have it
};

constexpr int64_t kTogether = 16;
constexpr int64_t kChat = 512;          // tokens of context that the speeds assume
constexpr int64_t kUserContext = 4096;  // of `users`, unless the model's own is shorter

Fit JudgeFit(const FitModel& model, const FitMachine& machine);

// Lines for users: one line, or three if the model fits. The first begins with `name`.
std::vector<std::string> FitLines(std::string_view name, const FitModel& model, const FitMachine& machine,
                                  const Fit& fit);
// For a table: "yes, 85 tok/s".
std::string FitWord(const Fit& fit);

// Estimated bytes of a file with `parameters` ("0.5B") in a format ("Q4_K_M"); 0 if either is not understood.
uint64_t GuessBytes(std::string_view parameters, std::string_view quantisation);

}  // namespace penstock
