#include "app/machine/fit.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "app/common/table.h"
#include "base/tokens.h"
#include "engine/memory.h"

namespace penstock {
namespace {

// The shares of the measured bandwidth and peak that a step reaches; and the fixed time per layer for
// starting and joining its threads.
constexpr double kReadShare = 0.89, kComputeShare = 0.33, kLayerTime = 25e-6;
constexpr double kFloatWeight = 1.5;       // bytes; larger weights multiply as floats
constexpr double kUnknownBits = 5;         // of a weight, if only the size of the file is known
constexpr uint64_t kUnknownKv = 64 << 10;  // bytes of a token, in the same case: only to reserve some memory

uint64_t ReadBytes(const FitModel& model, int64_t users) {
  if (!model.shape) {
    const double share = std::min(1.0, model.active * static_cast<double>(users));
    return static_cast<uint64_t>(static_cast<double>(model.bytes) * share);
  }
  const ModelShape& shape = *model.shape;
  const double used = 1 - std::pow(1 - shape.expert_used, static_cast<double>(users));
  const double share = 1 - shape.expert_share + shape.expert_share * used;
  return static_cast<uint64_t>(static_cast<double>(model.bytes - std::min(model.bytes, shape.unread)) *
                               share);
}

double StepSeconds(const FitModel& model, const FitMachine& machine, int64_t users) {
  const auto bytes = static_cast<double>(ReadBytes(model, users));
  const double weights = model.shape && model.shape->weights > 0
                             ? static_cast<double>(model.shape->weights)
                             : static_cast<double>(ReadBytes(model, 1)) * 8 / kUnknownBits;
  const bool floats = model.shape && static_cast<double>(ReadBytes(model, 1)) / weights > kFloatWeight;
  const double peak = floats ? machine.f32_flops : machine.int8_ops;
  const double kv = static_cast<double>(model.shape ? model.shape->KvBytesPerToken() : 0) * kChat;
  const double reading = bytes / (kReadShare * machine.bandwidth);
  const double computing = peak > 0 ? static_cast<double>(users) * 2 * weights / (kComputeShare * peak) : 0;
  return (model.shape ? model.shape->layers : 0) * kLayerTime + std::max(reading, computing) +
         static_cast<double>(users) * kv / machine.bandwidth;
}

// How much of `memory` an engine may use.
int64_t EngineMemory(uint64_t memory, const FitMachine& machine) {
  const int64_t most = EngineMemoryOf(static_cast<int64_t>(memory));
  return machine.engine_memory == 0 ? most : std::min(most, static_cast<int64_t>(machine.engine_memory));
}

// The smallest useful KV memory: for one short conversation, or what is configured.
int64_t LeastKv(const FitModel& model, const FitMachine& machine) {
  if (machine.kv_memory > 0) return static_cast<int64_t>(machine.kv_memory);
  const auto token = static_cast<int64_t>(model.shape ? model.shape->KvBytesPerToken() : kUnknownKv);
  return std::max(DefaultKvBytes(0), kChat * token);
}

void CountUsers(const ModelShape& shape, int64_t kv, const FitMachine& machine, Fit& fit) {
  const int64_t page = shape.KvBytesPerToken() * kPageTokens;
  const int64_t tokens = page > 0 ? kv / page * kPageTokens : 0;
  const int64_t context = machine.context > 0 ? std::min(machine.context, shape.context) : shape.context;
  if (tokens == 0 || context == 0) return;
  const auto at = [&](int64_t each) { return std::min(tokens / each, machine.max_sequences); };
  fit.user_context = std::min({kUserContext, context, tokens});
  fit.users = at(fit.user_context);
  fit.longest = std::min(context, tokens);
  fit.longest_users = at(fit.longest);
}

Fits JudgeMemory(const FitModel& model, const FitMachine& machine) {
  const auto needs = static_cast<int64_t>(model.bytes) + LeastKv(model, machine);
  if (needs > EngineMemory(machine.memory, machine)) return Fits::kNo;
  return needs > EngineMemory(machine.memory_free, machine) ? Fits::kNotNow : Fits::kYes;
}

std::string Rate(double tokens) {
  return tokens >= 9.95 ? fmt::format("{:.0f}", tokens) : fmt::format("{:.1f}", tokens);
}

std::string About(bool about) {
  return about ? "about " : "";
}

}  // namespace

Fit JudgeFit(const FitModel& model, const FitMachine& machine) {
  Fit fit;
  fit.about = model.guessed || !model.shape;
  if (model.bytes == 0 || machine.memory == 0) return fit;
  fit.usable = static_cast<uint64_t>(EngineMemory(machine.memory, machine));
  fit.fits = JudgeMemory(model, machine);
  if (machine.bandwidth > 0 && fit.fits != Fits::kNo) {
    fit.alone = 1 / StepSeconds(model, machine, 1);
    fit.together = kTogether / StepSeconds(model, machine, kTogether);
  }
  if (fit.fits != Fits::kNo && model.shape) {
    const auto left = static_cast<int64_t>(
        EngineMemory(fit.fits == Fits::kYes ? machine.memory_free : machine.memory, machine) -
        static_cast<int64_t>(model.bytes));
    CountUsers(*model.shape,
               machine.kv_memory > 0 ? static_cast<int64_t>(machine.kv_memory) : DefaultKvBytes(left),
               machine, fit);
  }
  if (fit.fits != Fits::kNo && machine.disk_free && *machine.disk_free < model.bytes)
    fit.fits = Fits::kNoDisk;
  return fit;
}

std::vector<std::string> FitLines(std::string_view name, const FitModel& model, const FitMachine& machine,
                                  const Fit& fit) {
  const std::string size = About(model.guessed) + HumanBytes(model.bytes);
  switch (fit.fits) {
    case Fits::kUnknown:
      return {fmt::format("{}: its size is not known yet", name)};
    case Fits::kNo:
      return {
          fmt::format("{} does not fit this machine: {} of weights, but an engine can use {} of {} memory",
                      name, size, HumanBytes(fit.usable), HumanBytes(machine.memory))};
    case Fits::kNoDisk:
      return {fmt::format("{} does not fit the disk: it needs {}, {} are free", name, size,
                          HumanBytes(machine.disk_free.value_or(0)))};
    default:
      break;
  }
  std::vector<std::string> lines;
  if (fit.fits == Fits::kYes) {
    lines.push_back(fmt::format("{} fits this machine: {} of weights, {} of memory are free", name, size,
                                HumanBytes(machine.memory_free)));
  } else {
    lines.push_back(
        fmt::format("{} would fit this machine, but too much memory is in use: {} of weights, {} of {} "
                    "memory are free",
                    name, size, HumanBytes(machine.memory_free), HumanBytes(machine.memory)));
  }
  if (fit.alone > 0) {
    lines.push_back(fmt::format("  speed  {}{} tokens/s for one user, {} for {} together (memory reads {}/s)",
                                "about ", Rate(fit.alone), Rate(fit.together), kTogether,
                                HumanBytes(static_cast<uint64_t>(machine.bandwidth))));
  }
  if (fit.users > 0) {
    std::string room = fmt::format("  room   {} {} at once with {} tokens each", fit.users,
                                   fit.users == 1 ? "user" : "users", HumanCount(fit.user_context));
    if (fit.longest > fit.user_context) {
      room += fmt::format(", or {} with {}", fit.longest_users, HumanCount(fit.longest));
    }
    lines.push_back(std::move(room));
  }
  return lines;
}

std::string FitWord(const Fit& fit) {
  const std::string rate = fit.alone > 0 ? fmt::format(", {} tok/s", Rate(fit.alone)) : "";
  switch (fit.fits) {
    case Fits::kYes:
      return "yes" + rate;
    case Fits::kNotNow:
      return "not now" + rate;
    case Fits::kNoDisk:
      return "disk is full";
    case Fits::kNo:
      return "no";
    default:
      return "?";
  }
}

uint64_t GuessBytes(std::string_view parameters, std::string_view quantisation) {
  // Average bits per weight in a file, including scales and matrices of higher precision.
  struct Bits {
    std::string_view name;
    double bits;
  };
  static constexpr std::array<Bits, 8> kBits = {{{"Q4_K_M", 5.0},
                                                 {"Q4_0", 4.7},
                                                 {"Q4_1", 5.2},
                                                 {"Q5_K_M", 5.8},
                                                 {"Q6_K", 6.7},
                                                 {"Q8_0", 8.6},
                                                 {"BF16", 16},
                                                 {"F16", 16}}};
  double billions = 0;
  const auto [end, error] =
      std::from_chars(parameters.data(), parameters.data() + parameters.size(), billions);
  const auto* found = std::ranges::find(kBits, quantisation, &Bits::name);
  if (error != std::errc() || std::string_view(end, parameters.data() + parameters.size()) != "B" ||
      found == kBits.end())
    return 0;
  return static_cast<uint64_t>(billions * 1e9 * found->bits / 8);
}

}  // namespace penstock
