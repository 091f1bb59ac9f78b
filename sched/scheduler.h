// Scheduler: the state that the planner decides about, and its decisions carried out.
//
//   Add … → Next → (the runner executes the plan) → Commit or Abort → Finish …
//
// Pure and deterministic: no clocks, no I/O, no bytes of KV; the same calls give the same plans. A
// sequence is the same whatever happens to it: preempted, forked, cached, batched or alone, each of its
// tokens is computed at the same position after the same tokens.
//
// Threads:   one.
// Invariant: a page is zeroed by the first step after its content is not kept any more, before a new owner
//            writes; every page is free, cached or in use (CheckIntegrity()).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/result.h"
#include "runner/step.h"
#include "sched/page_pool.h"
#include "sched/planner.h"
#include "sched/prefix_cache.h"
#include "sched/sequence.h"

namespace penstock {

struct SchedulerOptions {
  int32_t max_sequences = 64;  // running at once, of all models
  int32_t step_tokens = 512;
  bool prefix_cache = true;
};

// The longest sequence that a model can hold: its context, or all of its pages.
int32_t LongestSequence(const LoadedModel& model);

struct SchedulerStats {
  uint32_t running = 0, waiting = 0;  // sequences
  uint32_t free_pages = 0;            // cached ones that nobody uses included
  uint32_t cached_pages = 0;
  uint64_t preemptions = 0, prefix_hit_tokens = 0, computed_tokens = 0;  // since start
  uint64_t restored_tokens = 0;  // of paused and moved sequences, that were put aside and not computed again
};

class Scheduler {
 public:
  explicit Scheduler(SchedulerOptions options);
  ~Scheduler();

  void AddModel(const LoadedModel& model);
  // REQUIRES: no sequence of this model is left.
  void RemoveModel(ModelId model);
  // Bytes of KV that the on-demand models (LoadedModel::on_demand) may hold together; no limit until the
  // first call. When it shrinks, the next step frees what is over it. REQUIRES: each model's longest sequence
  // fits.
  void SetKvBudget(int64_t bytes);
  // What they hold now, cached pages included.
  int64_t HeldBytes() const;

  // Errors: kTooLarge if the prompt and max_tokens can never fit; kInvalid for an empty prompt or a
  // token outside the vocabulary.
  Result<SequenceId> Add(NewSequence sequence);
  // The first `tokens` tokens of a sequence that has just been added are aside in the runner: another engine
  // computed them, so its pages go to no prefix cache. REQUIRES: it never ran, and has more tokens than
  // those.
  void PutAside(SequenceId id, int32_t tokens);
  void Grant(SequenceId id, int64_t tokens);
  // Forgets a sequence and gives its pages back. REQUIRES: no step is under way.
  void Finish(SequenceId id);
  // Null when there is none.
  const Sequence* Find(SequenceId id) const;

  // The next step: of the model that has work and got the least chip time so far. Nothing if no sequence
  // can go on. REQUIRES: no step is under way.
  std::optional<StepPlan> Next();

  // What the last step computes: the one under way, or, until Next, the one that ended.
  struct Work {
    SequenceId id = 0;
    int32_t tokens = 0;
    bool sample = false;
  };
  std::span<const Work> work() const { return work_; }
  // The step ended well: counts what it computed and appends what was sampled.
  // Errors: kInternal if the result does not answer the plan; then nothing is changed and the step is
  // still under way.
  Status Commit(const StepResult& result);
  // The step failed: what it was to compute is not computed.
  void Abort();

  // Turns since the last call, in order.
  std::vector<std::pair<SequenceId, Turn>> TakeTurns() { return std::exchange(turns_, {}); }

  bool empty() const { return sequences_.empty(); }
  SchedulerStats Stats() const;
  void CheckIntegrity() const;

 private:
  struct Model;
  struct Start;  // what a waiting sequence need not compute
  using ByAge = std::map<SequenceId, Sequence*>;

  std::vector<Model*> ByService();
  std::optional<StepPlan> NextOf(Model& model);
  int32_t FreeSlots(const Model& model) const;
  bool Eligible(const Sequence& sequence) const;
  Start FindStart(const Model& model, const Sequence& sequence) const;
  std::vector<RunningView> ViewRunning(Model& model);
  std::vector<WaitingView> ViewWaiting(const Model& model, int32_t slots) const;
  void Preempt(Model& model, SequenceId id);
  void Save(Model& model, Sequence& sequence);
  void Drop(Model& model, Sequence& sequence);
  bool Admit(Model& model, SequenceId id, StepPlan& plan);
  void Compute(Model& model, Sequence& sequence, int32_t tokens, StepPlan& plan);

  // ---- shared_memory.cc ----
  struct Want {
    SequenceId id = 0;
    int32_t pages = 0;
  };
  PageId TakePage(Model& model, StepPlan& plan);
  int64_t InUse() const;
  int64_t Part() const;
  int32_t MostPages(const Model& model) const;
  int32_t Physical(const Model& model) const;
  int32_t Available(const Model& model) const;
  std::optional<Want> NextWant(const Model& model) const;
  std::optional<Want> Eldest(const Model& model) const;
  bool HoldsEldest(const Model& model, SequenceId id) const;
  bool Reclaim(Model& model);
  bool KeepToBudget();
  void MakeRoom(int64_t bytes, StepPlan& plan);
  FreedPage EvictOldest();
  std::vector<Model*> Freeing();
  std::vector<FreedPage> Freed() const;
  std::optional<StepPlan> FreeOnly();
  void Remember(Model& model, Sequence& sequence);
  void ReleasePages(Model& model, Sequence& sequence);

  const SchedulerOptions options_;
  std::map<ModelId, std::unique_ptr<Model>> models_;
  struct Owned;
  std::unordered_map<SequenceId, std::unique_ptr<Owned>> sequences_;
  std::vector<Work> work_;
  Model* stepping_ = nullptr;  // whose step is under way; null: none is
  std::vector<std::pair<SequenceId, Turn>> turns_;
  SequenceId next_id_ = 1;
  int32_t running_ = 0;
  int64_t kv_budget_ = INT64_MAX;
  bool shrunk_ = false;    // the budget, since the last step
  uint64_t releases_ = 0;  // so far: the clock of the prefix caches
  uint64_t preemptions_ = 0, prefix_hit_tokens_ = 0, computed_tokens_ = 0, restored_tokens_ = 0;
};

}  // namespace penstock
