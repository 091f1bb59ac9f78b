// FormulaChip: an engine of the simulated fleet that is a formula, behind the messages of engine/wire.proto.
//
// It batches continuously: a step decodes all its running sequences by a token and computes a chunk of the
// prompts that wait. How long a step takes comes from a measured table (ChipKind). A request gets its pages
// when it is admitted, for all of its answer; until there are as many it waits inside.
//
// To simulate millions of requests it tells tokens and charges in portions: the first token at once, further
// ones every kReportSteps steps, the rest with the last; and all of them before it dies, as if it had told
// each.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "engine/wire.pb.h"

namespace penstock {

// A kind of chip with one model on it, as measured.
struct ChipKind {
  std::string name;
  uint32_t count = 0;
  std::vector<std::pair<double, double>> decode;  // sequences → nanoseconds of a step; ascending, ≥ 1 row
  double context = 0;                             // nanoseconds a position looked back on
  double prefill = 0;                             // nanoseconds a prompt token
  uint32_t slots = 64;                            // sequences at once
  uint32_t pages = 8192;                          // of 16 tokens

  double StepTime(double prefill_tokens, double sequences, double positions) const;
};

class FormulaChip {
 public:
  static constexpr uint32_t kReportSteps = 16;

  // `kind` outlives it.
  FormulaChip(const ChipKind& kind, std::string name)
      : kind_(kind), name_(std::move(name)), free_(kind.pages) {}

  wire::FromEngine Hello() const;
  // What it answers to LoadModel.
  wire::FromEngine Ready(const std::string& model, const std::string& path);

  // A job of one choice, whose answer has `output` tokens, of which `emitted` were told by other engines.
  void Submit(uint64_t request, uint32_t prompt, uint32_t output, uint32_t emitted);

  bool idle() const { return waiting_.empty() && prompts_.empty() && decoding_.empty(); }
  // Begins a step; returns how long it will take. REQUIRES: not idle; no step is under way.
  Nanos Begin(double jitter);
  // What it reports; valid until the next call.
  const wire::FromEngine& End();
  // What it computed and has not told yet. It is to be forgotten then.
  const wire::FromEngine& LastWords();

  uint64_t steps() const { return step_; }
  Nanos busy() const { return busy_; }

 private:
  struct Request {
    uint64_t id = 0;
    uint32_t known = 0;   // tokens to compute first: of the prompt, and told by other engines
    uint32_t left = 0;    // of `known`, not computed yet
    uint32_t output = 0;  // tokens of the whole answer
    uint32_t before = 0;  // of them, told by other engines
    uint32_t told = 0;    // of them, told by now
    uint32_t pages = 0;
    uint64_t last_step = 0;  // the step that ends it
    double cost_from = 0;    // decode_cost_ up to which it was charged
    double charge = 0;       // nanoseconds, of its prompt
    uint32_t computed = 0;   // prompt tokens since its last charge
  };

  void Admit();
  void Decoded();
  void Computed();
  void Tell(Request& request, uint32_t emitted, bool last);
  void ChargeTo(Request& request, uint32_t decoded);
  uint32_t EmittedOf(const Request& request) const {
    return request.output - static_cast<uint32_t>(request.last_step - step_);
  }
  void Report();

  const ChipKind& kind_;
  const std::string name_;
  std::string model_;
  uint32_t free_;                  // pages
  std::deque<Request> waiting_;    // for pages
  std::deque<Request> prompts_;    // to be computed, in order
  std::vector<Request> decoding_;  // a heap: the first to end is in front
  double context_ = 0;             // positions of the decoding ones
  double chunk_ = 0;               // prompt tokens of the step under way
  double token_cost_ = 0;          // nanoseconds of a token in the step under way
  double decode_cost_ = 0;         // nanoseconds that a sequence which decoded since the beginning has cost
  uint64_t step_ = 0;
  Nanos busy_ = 0, took_ = 0;
  wire::FromEngine message_;
};

}  // namespace penstock
