// Fit: whether a model fits a machine, how fast it would answer there, and for how many. Arithmetic on plain
// data; nothing is measured or read here.
//
// Memory goes by the engine's own rules (engine/memory.h). Speed is a roofline. A step reads every weight
// once, whatever the number of users, and the keys and values of each; or it computes longer than it reads:
//
//   step(users) = layers · kLayerTime + users · kv(kChat) / bandwidth
//               + max(weights' bytes / (kReadShare · bandwidth), users · 2 · weights / (kComputeShare ·
//               peak))
//
// The three constants are from this engine beside the bandwidth and peak measured in the same minute
// (app/machine/fit_test.cc has the figures): it is within 30% of them. On other CPUs it is a guess of that
// kind.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "app/machine/shape.h"

namespace penstock {

struct FitMachine {
  uint64_t memory = 0, memory_free = 0;  // that processes here may use at all, and now; 0: not known
  std::optional<uint64_t> disk_free{};   // where models are kept
  double bandwidth = 0;                  // bytes/s read from memory, measured; 0: not known
  double int8_ops = 0, f32_flops = 0;    // peaks, measured
  // As configured; 0: the engine chooses.
  uint64_t engine_memory = 0, kv_memory = 0;
  int64_t context = 0, max_sequences = 64;
};

struct FitModel {
  uint64_t bytes = 0;                 // of its file; 0: not known
  bool guessed = false;               // the bytes are only about right
  std::optional<ModelShape> shape{};  // nullopt: not known
  double active = 1;                  // without a shape: the share of the weights that one token uses
};

enum class Fits : uint8_t {
  kYes,
  kNotNow,   // it would, if less memory were in use
  kNoDisk,   // there is no room to keep it
  kNo,       // never on this machine
  kUnknown,  // nothing is known of the model's size or of the machine's memory
};

struct Fit {
  Fits fits = Fits::kUnknown;
  uint64_t usable = 0;             // bytes that an engine here may take, at most
  bool about = true;               // figures are rougher than the formula: bytes or shape are not known
  double alone = 0, together = 0;  // tokens/s of one user; of kTogether users, all together; 0: not known
  int64_t users = 0, user_context = 0;     // so many at once with so many tokens each
  int64_t longest = 0, longest_users = 0;  // the longest context that one can have, and how many can
};

constexpr int64_t kTogether = 16;
constexpr int64_t kChat = 512;          // tokens of context that the speeds assume
constexpr int64_t kUserContext = 4096;  // of `users`, unless the model's own is shorter

Fit JudgeFit(const FitModel& model, const FitMachine& machine);

// For people: one line, or three where it fits. `name` opens the first.
std::vector<std::string> FitLines(std::string_view name, const FitModel& model, const FitMachine& machine,
                                  const Fit& fit);
// In a table: "yes, 85 tok/s".
std::string FitWord(const Fit& fit);

// Bytes of a file of so many parameters ("0.5B") in a format ("Q4_K_M"); 0 where either is not understood.
uint64_t GuessBytes(std::string_view parameters, std::string_view quantisation);

}  // namespace penstock
