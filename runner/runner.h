// Runner: what executes a step on a chip. `native` (model/ and kernels/), `ggml` (libllama, a plug-in:
// runner/ggml_plugin.h), `fake` (tests, sim/, gateway benches).
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "runner/step.h"

namespace penstock {

struct LoadOptions {
  std::string path;           // GGUF file or Hugging Face folder
  int64_t kv_bytes = 0;       // most KV memory for this model; 0: no cap
  int32_t context = 0;        // cap on the model's own context length; 0: no cap
  int64_t longest_bytes = 0;  // most KV memory for one sequence, which caps the context; 0: no cap
  int32_t sequences = 16;     // that may run at once: more KV memory than they can fill is of no use
};

// What a runner runs on.
struct ChipInfo {
  std::string name = {};    // for people: "NVIDIA H100", "2 cores of AMD EPYC"
  std::string kernel = {};  // "ggml-cuda 0.5.0", "avx512"
  // Runners of the same contract give the same tokens to the bit for the same file; empty: no such promise.
  std::string contract = {};
  int64_t memory_bytes = 0;  // free for weights and KV; 0: this machine's own memory
  // Runners of the same form take over each other's sequences (TakeState, GiveState); empty: it cannot.
  std::string state = {};
  bool kv_on_demand = false;  // LoadedModel::on_demand of its models
};

// Threads: one (the engine's loop), except that Load may be called from a second thread, one load at a time,
// while steps of other models run; and that Submit's callback may come from any thread.
class Runner {
 public:
  virtual ~Runner() = default;
  virtual std::string_view Name() const = 0;  // "native", "ggml", "fake"
  virtual ChipInfo Chip() const { return {}; }
  // Takes seconds to minutes, and must not hold up steps of other models for longer than a step takes. The
  // caller gives its thread a low priority while there are others; threads that a load starts inherit it.
  // Errors name the file and the defect; a failed load leaves the runner as it was.
  virtual Result<LoadedModel> Load(const LoadOptions& options) = 0;
  // REQUIRES: no step of this model is under way.
  virtual void Unload(ModelId model) = 0;
  // Runs one step and calls `done` exactly once. REQUIRES: the previous step is done.
  // An Error is a fault of the runner: the engine ends the step's sequences with it and goes on.
  virtual void Submit(StepPlan plan, std::function<void(Result<StepResult>)> done) = 0;

  // What was computed of a sequence's first `tokens` tokens, which are in `pages`, as bytes that a runner of
  // the same ChipInfo::state takes for the same model file. REQUIRES: no step is under way. Errors: it does
  // not give them; the sequence is as it was.
  virtual Result<std::string> TakeState(ModelId /*model*/, SequenceId /*sequence*/, int32_t /*tokens*/,
                                        std::span<const PageId> /*pages*/) {
    return Fail(Code::kUnsupported, "this runner gives no sequence away");
  }
  // Puts such bytes aside for a sequence that this runner has not seen, as SequenceOp::kSave would have,
  // whatever LoadedModel::aside_pages is. `text`: the tokens that they stand for. REQUIRES: no step is under
  // way. Errors: they do not fit the model; nothing is aside then.
  virtual Status GiveState(ModelId /*model*/, SequenceId /*sequence*/, std::span<const Token> /*text*/,
                           std::string /*state*/) {
    return Fail(Code::kUnsupported, "this runner takes no sequence over");
  }
};

}  // namespace penstock
