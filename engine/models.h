// EngineModels: the models of one engine, and what of its memory each has.
//
//   Load → LOADING → (a thread reads and packs the file) → Finish → READY or FAILED → Unload
//
// Loads run on a thread of their own, one after another, so steps of the loaded models go on. The thread has
// the lowest priority while other models are loaded: packing weights may use all cores, but only as far as
// steps do not need them.
//
// Threads: the engine's, but for the loading thread, which calls only the runner's Load and touches only
// `loaded_`.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/result.h"
#include "base/thread_annotations.h"
#include "engine/engine.h"
#include "engine/memory.h"
#include "engine/pieces.h"
#include "engine/wire.pb.h"
#include "runner/runner.h"
#include "sched/scheduler.h"

namespace penstock {

struct EngineModel {
  wire::ModelState state;
  LoadedModel loaded;  // of a READY one
  std::shared_ptr<const Pieces> pieces;
  KvUse use;
  uint64_t load = 0;  // which load it is of
};

class EngineModels {
 public:
  struct Hooks {
    std::function<void(const wire::ModelState&)> tell;
    // The model is about to go: its requests are to be ended first.
    std::function<void(const EngineModel&, std::string_view why)> leaving;
    std::function<void()> wake;  // Finish has something to do. Threads: the loading thread's.
  };
  // Both must outlive this. options.memory_bytes must be resolved (not 0).
  EngineModels(Runner& runner, Scheduler& scheduler, const EngineOptions& options, Hooks hooks);
  ~EngineModels();  // waits for a load under way

  // REQUIRES (both): no step is under way.
  void Load(const wire::LoadModel& load);
  void Unload(const std::string& name);
  // Takes what the loading thread has loaded. `wait`: until no load is under way or waits. REQUIRES: no step
  // is under way.
  void Finish(bool wait = false);

  // Null: it is not READY.
  const EngineModel* Find(const std::string& name) const;

 private:
  struct Outcome {
    LoadedModel loaded;
    Result<Pieces> pieces;
  };
  struct Waiting {
    uint64_t load = 0;
    wire::LoadModel wanted;
  };
  struct Loading {
    uint64_t load = 0;
    std::string name, path;
    KvUse use;
  };

  void StartNext();
  Result<KvPlan> Plan(const wire::LoadModel& load) const;
  LoadOptions OptionsOf(const wire::LoadModel& load, const KvPlan& plan) const;
  void Run(const LoadOptions& options, bool alone);
  void Settle(const Loading& loading, Result<Outcome> outcome);
  void Ready(EngineModel& model, const KvUse& planned, Outcome outcome);
  void Failed(EngineModel& model, const Error& error);
  void Drop(EngineModel& model, std::string_view why);
  void ShareMemory();
  EngineModel* Of(const std::string& name, uint64_t load);
  std::vector<KvUse> Uses() const;

  Runner& runner_;
  Scheduler& scheduler_;
  const EngineOptions options_;
  const Hooks hooks_;
  std::map<std::string, std::unique_ptr<EngineModel>> models_;
  std::deque<Waiting> waiting_;
  std::optional<Loading> loading_;
  std::thread thread_;  // loads `loading_`
  uint64_t loads_ = 0;

  Mutex mutex_;
  std::condition_variable came_;
  std::optional<Result<Outcome>> loaded_ GUARDED_BY(mutex_);
};

}  // namespace penstock
