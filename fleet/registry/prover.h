// Prover: asks engines their canary prompts and judges the answers against the truth
// (fleet/registry/truths.h).
//
// Threads: one. Time is told.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "fleet/registry/canary.h"
#include "fleet/registry/truths.h"

namespace penstock {

class Prover {
 public:
  using Engine = uint32_t;  // never used twice
  struct Options {
    std::string file = "";                // of the truths; empty: they are forgotten at the end
    Nanos patience = 60 * kSecond;        // for an answer
    std::string_view own = "penstock-1";  // the contract that is believed over others
  };
  struct Verdict {
    Engine engine = 0;
    std::string model;
    // Ok; kCorrupt: a wrong answer; kUnavailable: none in time, or an error.
    Status status;
  };

  explicit Prover(Options options) : options_(options), truths_(options.file) {}

  // The prompts of a model, whose file is `path`; none: it needs no proof.
  void SetPrompts(const std::string& model, const std::string& path, std::vector<CanaryPrompt> prompts);
  bool Needs(std::string_view model) const;

  // Asks an engine all prompts of a model: submissions with request ids from `next`. Nothing when it is being
  // asked already.
  std::vector<wire::Submit> Ask(Engine engine, const std::string& contract, const std::string& model,
                                Nanos now, const std::function<uint64_t()>& next);
  bool Asking(Engine engine, std::string_view model) const;
  // Whether this event answers a canary; then the verdict, once all prompts of its model are answered.
  bool Hear(Engine engine, const wire::TokenEvent& event, std::optional<Verdict>& verdict);
  bool Owns(uint64_t request) const { return requests_.contains(request); }
  // Those whose patience is over.
  std::vector<Verdict> Late(Nanos now);
  void Forget(Engine engine);

 private:
  struct Model {
    std::string file;
    std::vector<CanaryPrompt> prompts;
    std::map<Engine, std::vector<CanaryAnswer>> latest;
  };
  using Key = std::pair<Engine, std::string>;
  struct Run {
    std::string contract;
    Nanos since = 0;
    size_t left = 0;
    std::vector<uint64_t> requests;
    std::vector<CanaryAnswer> answers;
    std::string error;    // the engine's fault
    std::string refusal;  // the question's
  };

  Verdict Judge(const Key& key, Run run);
  Status Compare(const Key& key, const Run& run);
  bool Outvoted(const Model& model, const Truth& truth, const std::vector<CanaryAnswer>& given) const;
  void Drop(std::map<Key, Run>::iterator run);

  const Options options_;
  Truths truths_;
  std::map<std::string, Model, std::less<>> models_;
  std::map<Key, Run> runs_;
  std::unordered_map<uint64_t, std::pair<Key, size_t>> requests_;  // which prompt of which run
};

}  // namespace penstock
