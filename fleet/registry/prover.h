// Prover: asks engines their canary prompts and compares the answers with the right ones
// (fleet/registry/truths.h).
//
// Threads: one. Time is passed in.
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
#include "fleet/placement/engine_key.h"
#include "fleet/registry/canary.h"
#include "fleet/registry/truths.h"

namespace penstock {

class Prover {
 public:
  using Engine = EngineKey;
  struct Options {
    Nanos patience = 60 * kSecond;        // how long an answer may take
    std::string_view own = "penstock-1";  // the numeric contract that counts more than others
  };
  struct Verdict {
    Engine engine = 0;
    std::string model;
    // Ok; kCorrupt: a wrong answer; kUnavailable: none in time, or an error.
    Status status;
  };

  // `truths`: the right answers that are known (Truths::Json); empty: none.
  Prover(Options options, std::string_view truths) : options_(options), truths_(truths) {}

  // The prompts of a model, whose file is `identity` (FileIdentity); none: it needs no proof.
  void SetPrompts(const std::string& model, const std::string& identity, std::vector<CanaryPrompt> prompts);
  bool Needs(std::string_view model) const;

  // Asks an engine all prompts of a model: submissions with request ids from `next`. Nothing when it is being
  // asked already.
  std::vector<wire::Submit> Ask(Engine engine, const std::string& contract, const std::string& model,
                                Nanos now, const std::function<uint64_t()>& next);
  bool Asking(Engine engine, std::string_view model) const;
  // Whether this event answers a canary; then the verdict, once all prompts of its model are answered.
  bool Hear(Engine engine, const wire::TokenEvent& event, std::optional<Verdict>& verdict);
  bool Owns(uint64_t request) const { return requests_.contains(request); }
  // Engines that have not answered within `patience`.
  std::vector<Verdict> Late(Nanos now);
  void Forget(Engine engine);
  // The right answers, if they have changed since the last call.
  std::optional<std::string> TakeChangedTruths() {
    return std::exchange(truths_changed_, false) ? std::optional(truths_.Json()) : std::nullopt;
  }

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
    std::string error;    // the engine failed
    std::string refusal;  // the engine cannot be asked this
  };

  Verdict Judge(const Key& key, Run run);
  Status Compare(const Key& key, const Run& run);
  bool Outvoted(const Model& model, const Truth& truth, const std::vector<CanaryAnswer>& given) const;
  void Drop(std::map<Key, Run>::iterator run);

  const Options options_;
  Truths truths_;
  bool truths_changed_ = false;
  std::map<std::string, Model, std::less<>> models_;
  std::map<Key, Run> runs_;
  std::unordered_map<uint64_t, std::pair<Key, size_t>> requests_;  // which prompt of which run
};

}  // namespace penstock
