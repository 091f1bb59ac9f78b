#include "runner/ggml/ggml_runner.h"

#include <ggml-backend.h>
#include <llama.h>

#include <algorithm>
#include <array>
#include <exception>
#include <filesystem>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/thread_annotations.h"
#include "chip/cpu.h"
#include "kernels/kernels.h"
#include "runner/cell_map.h"
#include "runner/ggml/device.h"
#include "runner/ggml/handles.h"
#include "runner/ggml/libllama.h"
#include "runner/kv_size.h"
#include "runner/sampler.h"

namespace penstock::ggml {
namespace {

constexpr int32_t kBatchTokens = 2048, kUbatchTokens = 512;  // a plan that is larger becomes several batches
constexpr int64_t kGpuPauseBytes = int64_t{512} << 20;
constexpr int32_t kCellsAtLeast = 256;  // libllama rounds a memory up to that

struct Loaded {
  ModelPtr model;
  ContextPtr context;  // after the model it is of
  std::unique_ptr<Batch> batch;
  std::unique_ptr<CellMap> cells;
  std::map<SequenceId, std::string> aside;  // states of paused sequences, and of given ones
  int32_t vocabulary = 0, longest = 0;
};

// ---- the runner ------------------------------------------------------------------------------------

class GgmlRunner final : public Runner {
 public:
  GgmlRunner(const GgmlOptions& options, ggml_backend_dev_t device)
      : options_(options),
        threads_(options.threads > 0 ? options.threads : static_cast<int>(chip::UsableCpus().size())),
        device_(device),
        pool_(threads_),
        kernels_(kernels::KernelsFor(kernels::SupportedIsas().back())) {}

  std::string_view Name() const override { return "ggml"; }
  ChipInfo Chip() const override;
  Result<LoadedModel> Load(const LoadOptions& options) override;
  void Unload(ModelId model) override {
    const MutexLock lock(computing_);
    models_.erase(model);
  }

  void Submit(StepPlan plan, std::function<void(Result<StepResult>)> done) override { done(Step(plan)); }
  Result<std::string> TakeState(ModelId model, SequenceId sequence, int32_t tokens,
                                std::span<const PageId> pages) override;
  Status GiveState(ModelId model, SequenceId sequence, std::span<const Token> text,
                   std::string state) override;

 private:
  Result<ModelPtr> LoadModel(const std::string& path) const;
  Result<ContextPtr> MakeContext(llama_model* model, const std::string& path, int64_t cells,
                                 int32_t slots) const;
  Result<int64_t> MeasureCell(llama_model* model, const std::string& path);

  Result<StepResult> Step(const StepPlan& plan);
  Status Check(const StepPlan& plan, const Loaded& loaded) const;
  Status Run(Loaded& loaded, const StepPlan& plan, StepResult& result);
  Status Do(Loaded& loaded, const CellMap::Actions& actions, StepResult& result);
  static std::string ReadState(const Loaded& loaded, int32_t slot);
  static void Save(Loaded& loaded, const CellMap::Action& action, StepResult& result);
  Status Restore(Loaded& loaded, const CellMap::Action& action, StepResult& result);
  Status Compute(Loaded& loaded, int32_t slot, int32_t begin, std::span<const Token> tokens,
                 const SequenceStep* sampled, StepResult& result);
  Status Decode(Loaded& loaded, StepResult& result);

  const GgmlOptions options_;
  const int threads_;
  ggml_backend_dev_t const device_;
  const Threads pool_;
  const kernels::Kernels& kernels_;
  // Held while the threads compute, a step or the two tokens of MeasureCell; models are read and made beside
  // it.
  Mutex computing_;
  std::map<ModelId, Loaded> models_ GUARDED_BY(computing_);
  ModelId next_model_ GUARDED_BY(computing_) = 1;

  // Of the batch under way: rows whose logits were asked for.
  std::vector<std::pair<const SequenceStep*, int32_t>> sampling_;
  SamplerScratch scratch_;
};

ChipInfo GgmlRunner::Chip() const {
  ChipInfo chip{.name = ggml_backend_dev_description(device_),
                .kernel = KernelName(device_),
                .state = fmt::format("libllama {}", llama_version())};
  if (IsGpu(device_)) {
    size_t free = 0, total = 0;
    ggml_backend_dev_memory(device_, &free, &total);
    chip.memory_bytes = static_cast<int64_t>(free);
  }
  return chip;
}

// What libllama could load but not answer with is refused, by name.
Status CheckServed(const llama_model* model, const std::string& path) {
  std::array<char, 128> name{};
  llama_model_desc(model, name.data(), name.size());
  const char* why = nullptr;
  if (llama_vocab_n_tokens(llama_model_get_vocab(model)) == 0) why = "it has no vocabulary";
  if (llama_model_has_encoder(model) || !llama_model_has_decoder(model)) why = "it has an encoder";
  if (llama_model_is_diffusion(model)) why = "it does not write from left to right";
  if (why == nullptr) return {};
  return Fail(Code::kUnsupported, "{} ({}): the ggml runner does not serve it: {}", path, name.data(), why);
}

Result<ModelPtr> GgmlRunner::LoadModel(const std::string& path) const {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    return Fail(Code::kUnsupported,
                "{} is a folder; the ggml runner reads GGUF files: convert it, or use engine.runner = native",
                path);
  }
  if (!std::filesystem::exists(path, error)) return Fail(Code::kNotFound, "{}: there is no such file", path);
  std::array<ggml_backend_dev_t, 2> devices{IsGpu(device_) ? device_ : nullptr, nullptr};
  llama_model_params params = llama_model_default_params();
  params.devices = devices.data();
  params.n_gpu_layers = IsGpu(device_) ? options_.layers : 0;
  params.split_mode = LLAMA_SPLIT_MODE_NONE;
  LlamaLog::Get().TakeError();
  ModelPtr model(llama_model_load_from_file(path.c_str(), params));
  if (model == nullptr) {
    return Fail(Code::kUnsupported, "{}: libllama {} does not load it: {}", path, llama_version(),
                LlamaLog::Get().TakeError());
  }
  PENSTOCK_TRY(CheckServed(model.get(), path));
  return model;
}

Result<ContextPtr> GgmlRunner::MakeContext(llama_model* model, const std::string& path, int64_t cells,
                                           int32_t slots) const {
  llama_context_params params = llama_context_default_params();
  params.n_ctx = static_cast<uint32_t>(cells);
  params.n_batch = kBatchTokens;
  params.n_ubatch = kUbatchTokens;
  params.n_seq_max = static_cast<uint32_t>(slots);
  params.n_outputs_max = static_cast<uint32_t>(slots);
  params.n_threads = params.n_threads_batch = threads_;
  params.kv_unified = true;
  params.swa_full = true;  // all positions are kept, so that a text can be cut and shared anywhere
  params.op_offload = IsGpu(device_);
  LlamaLog::Get().TakeError();
  ContextPtr context(llama_init_from_model(model, params));
  if (context == nullptr) {
    return Fail(
        Code::kOverloaded,
        "{}: libllama has no room for {} tokens of KV memory on {}: {}; give it less (engine.kv_memory), or "
        "unload another model",
        path, cells, ggml_backend_dev_name(device_), LlamaLog::Get().TakeError());
  }
  if (llama_get_memory(context.get()) == nullptr ||
      llama_pooling_type(context.get()) != LLAMA_POOLING_TYPE_NONE) {
    return Fail(Code::kUnsupported,
                "{}: the ggml runner does not serve it: it makes embeddings or scores, not text", path);
  }
  pool_.Attach(context.get());
  return context;
}

// Bytes that one token's keys and values take, whatever the architecture: what a second one adds to the state
// of a sequence. Running states do not grow: 0.
Result<int64_t> GgmlRunner::MeasureCell(llama_model* model, const std::string& path) {
  PENSTOCK_ASSIGN(const ContextPtr context, MakeContext(model, path, kCellsAtLeast, 1));
  const MutexLock lock(computing_);
  Batch batch(1);
  std::array<size_t, 2> sizes{};
  for (int32_t position = 0; position < 2; ++position) {
    batch.Clear();
    batch.Add(0, position, 0, true);
    if (const int32_t status = llama_decode(context.get(), batch.get()); status != 0) {
      return Fail(Code::kUnsupported, "{}: libllama does not compute with it (status {}): {}", path, status,
                  LlamaLog::Get().TakeError());
    }
    llama_synchronize(context.get());
    sizes[static_cast<size_t>(position)] = llama_state_seq_get_size(context.get(), 0);
  }
  return static_cast<int64_t>(sizes[1] - sizes[0]);
}

Result<LoadedModel> GgmlRunner::Load(const LoadOptions& options) try {
  PENSTOCK_ASSIGN(ModelPtr model, LoadModel(options.path));
  PENSTOCK_ASSIGN(const int64_t cell, MeasureCell(model.get(), options.path));
  const int64_t page = std::max<int64_t>(1, cell * kPageTokens);
  const int32_t own = std::max(1, llama_model_n_ctx_train(model.get()));
  PENSTOCK_ASSIGN(const KvSize size, SizeKv(options, page, own, options_.max_sequences));
  const int32_t pages = size.pages;
  // As many texts are remembered as run.
  const int32_t slots = 2 * options_.max_sequences;
  PENSTOCK_ASSIGN(ContextPtr made, MakeContext(model.get(), options.path,
                                               std::max(kCellsAtLeast, pages * kPageTokens), slots));
  const int64_t pause = options_.pause_bytes > 0 ? options_.pause_bytes : IsGpu(device_) ? kGpuPauseBytes : 0;
  const bool shares = !llama_model_is_recurrent(model.get()) && !llama_model_is_hybrid(model.get());
  const MutexLock lock(computing_);
  const LoadedModel info{.id = next_model_++,
                         .vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model.get())),
                         .context = size.context,
                         .pages = pages,
                         .weight_bytes = static_cast<int64_t>(llama_model_size(model.get())),
                         .page_bytes = page,
                         .kernel = KernelName(device_),
                         .aside_pages = static_cast<int32_t>(std::min<int64_t>(pause / page, INT32_MAX)),
                         .shares_pages = shares};
  Loaded loaded{.model = std::move(model),
                .context = std::move(made),
                .batch = nullptr,
                .cells = std::make_unique<CellMap>(pages, slots, shares),
                .aside = {},
                .vocabulary = info.vocabulary,
                .longest = info.context};
  loaded.batch = std::make_unique<Batch>(static_cast<int32_t>(llama_n_batch(loaded.context.get())));
  models_.emplace(info.id, std::move(loaded));
  return info;
} catch (const std::exception& thrown) {  // drivers throw through libllama
  return Fail(Code::kUnavailable, "{}: {} failed: {}", options.path, ggml_backend_dev_name(device_),
              thrown.what());
}

Result<StepResult> GgmlRunner::Step(const StepPlan& plan) {
  const MutexLock lock(computing_);
  const auto it = models_.find(plan.model);
  if (it == models_.end()) return Fail(Code::kNotFound, "model {} is not loaded in this engine", plan.model);
  Loaded& loaded = it->second;
  PENSTOCK_TRY(Check(plan, loaded));
  StepResult result;
  Status ran;
  try {
    ran = Run(loaded, plan, result);
  } catch (const std::exception& thrown) {
    ran = Fail(Code::kUnavailable, "{} failed: {}", ggml_backend_dev_name(device_), thrown.what());
  }
  if (ran) return result;
  CellMap::Actions actions;
  loaded.cells->Failed(plan, actions);
  if (const Status undone = Do(loaded, actions, result); !undone) return std::unexpected(undone.error());
  return std::unexpected(ran.error());
}

// libllama aborts on some of these.
Status GgmlRunner::Check(const StepPlan& plan, const Loaded& loaded) const {
  for (const SequenceStep& work : plan.work) {
    if (int64_t{work.start} + static_cast<int64_t>(work.tokens.size()) > loaded.longest) {
      return Fail(Code::kInternal, "sequence {}: {} tokens from {} exceed the context of {}", work.sequence,
                  work.tokens.size(), work.start, loaded.longest);
    }
    for (const Token token : work.tokens) {
      if (token < 0 || token >= loaded.vocabulary) {
        return Fail(Code::kInvalid, "token {} is not in the model's vocabulary of {}", token,
                    loaded.vocabulary);
      }
    }
  }
  return {};
}

Status GgmlRunner::Run(Loaded& loaded, const StepPlan& plan, StepResult& result) {
  loaded.batch->Clear();
  sampling_.clear();
  CellMap::Actions actions;
  auto slots = loaded.cells->Prepare(plan, actions);
  // Also where it failed half-way: CellMap counts on what it has asked for.
  PENSTOCK_TRY(Do(loaded, actions, result));
  if (!slots) return std::unexpected(std::move(slots).error());
  for (size_t i = 0; i < plan.work.size(); ++i) {
    const SequenceStep& work = plan.work[i];
    PENSTOCK_TRY(
        Compute(loaded, (*slots)[i], work.start, work.tokens, work.sample ? &work : nullptr, result));
  }
  PENSTOCK_TRY(Decode(loaded, result));
  loaded.cells->Computed(plan);
  return {};
}

Status GgmlRunner::Do(Loaded& loaded, const CellMap::Actions& actions, StepResult& result) {
  using Kind = CellMap::Action::Kind;
  llama_memory_t memory = llama_get_memory(loaded.context.get());
  for (const CellMap::Action& action : actions) {
    switch (action.kind) {
      case Kind::kCopy:
        llama_memory_seq_cp(memory, action.from, action.slot, action.begin, action.end);
        break;
      case Kind::kRemove: {
        // A running state is removed as a whole only.
        const llama_pos begin = action.begin == 0 && action.end < 0 ? -1 : action.begin;
        if (!llama_memory_seq_rm(memory, action.slot, begin, action.end)) {
          return Fail(Code::kInternal, "libllama does not remove tokens {} to {} of sequence {}",
                      action.begin, action.end, action.slot);
        }
        break;
      }
      case Kind::kCompute:
        PENSTOCK_TRY(Compute(loaded, action.slot, action.begin, action.tokens, nullptr, result));
        PENSTOCK_TRY(Decode(loaded, result));
        break;
      case Kind::kSave:
        Save(loaded, action, result);
        break;
      case Kind::kRestore:
        PENSTOCK_TRY(Restore(loaded, action, result));
        break;
      case Kind::kDrop:
        loaded.aside.erase(action.sequence);
        break;
    }
  }
  return {};
}

// Empty where libllama does not give it.
std::string GgmlRunner::ReadState(const Loaded& loaded, int32_t slot) {
  std::string state(llama_state_seq_get_size(loaded.context.get(), slot), '\0');
  const size_t got = llama_state_seq_get_data(loaded.context.get(), reinterpret_cast<uint8_t*>(state.data()),
                                              state.size(), slot);
  return got == state.size() ? state : std::string();
}

Result<std::string> GgmlRunner::TakeState(ModelId model, SequenceId sequence, int32_t tokens,
                                          std::span<const PageId> /*pages*/) try {
  const MutexLock lock(computing_);
  const Loaded& loaded = models_.at(model);
  const int32_t slot = loaded.cells->SlotOf(sequence, tokens);
  std::string state = slot < 0 ? std::string() : ReadState(loaded, slot);
  if (state.empty()) return Fail(Code::kUnsupported, "libllama does not give sequence {}", sequence);
  return state;
} catch (const std::exception& thrown) {
  return Fail(Code::kUnavailable, "{} failed: {}", ggml_backend_dev_name(device_), thrown.what());
}

// What it is worth is seen when it is restored; then the text is computed again if need be.
Status GgmlRunner::GiveState(ModelId model, SequenceId sequence, std::span<const Token> text,
                             std::string state) {
  const MutexLock lock(computing_);
  Loaded& loaded = models_.at(model);
  loaded.aside[sequence] = std::move(state);
  loaded.cells->PutAside(sequence, {text.begin(), text.end()});
  return {};
}

// Where libllama does not give or take a state, the sequence is computed again.
void GgmlRunner::Save(Loaded& loaded, const CellMap::Action& action, StepResult& result) {
  const Nanos begin = SystemClock().Monotonic();
  std::string state = ReadState(loaded, action.slot);
  if (!state.empty()) loaded.aside[action.sequence] = std::move(state);
  result.chip_time += SystemClock().Monotonic() - begin;
}

Status GgmlRunner::Restore(Loaded& loaded, const CellMap::Action& action, StepResult& result) {
  const auto kept = loaded.aside.extract(action.sequence);
  const Nanos begin = SystemClock().Monotonic();
  const size_t read = kept.empty()
                          ? 0
                          : llama_state_seq_set_data(loaded.context.get(),
                                                     reinterpret_cast<const uint8_t*>(kept.mapped().data()),
                                                     kept.mapped().size(), action.slot);
  result.chip_time += SystemClock().Monotonic() - begin;
  if (read > 0) return {};
  llama_memory_seq_rm(llama_get_memory(loaded.context.get()), action.slot, -1, -1);
  PENSTOCK_TRY(Compute(loaded, action.slot, 0, action.tokens, nullptr, result));
  return Decode(loaded, result);
}

// Puts tokens into the batch; a full batch is computed. `sampled`: the last token's logits are for it.
Status GgmlRunner::Compute(Loaded& loaded, int32_t slot, int32_t begin, std::span<const Token> tokens,
                           const SequenceStep* sampled, StepResult& result) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (loaded.batch->full()) PENSTOCK_TRY(Decode(loaded, result));
    const bool logits = sampled != nullptr && i + 1 == tokens.size();
    const int32_t row = loaded.batch->Add(slot, begin + static_cast<int32_t>(i), tokens[i], logits);
    if (logits) sampling_.emplace_back(sampled, row);
  }
  return {};
}

Status GgmlRunner::Decode(Loaded& loaded, StepResult& result) {
  if (loaded.batch->empty()) return {};
  LlamaLog::Get().TakeError();
  const Nanos begin = SystemClock().Monotonic();
  const int32_t status = llama_decode(loaded.context.get(), loaded.batch->get());
  llama_synchronize(loaded.context.get());
  result.chip_time += SystemClock().Monotonic() - begin;
  loaded.batch->Clear();
  if (status != 0) {
    return Fail(Code::kUnavailable, "libllama did not compute the step (status {}): {}", status,
                status == 1 ? "its KV memory is full" : LlamaLog::Get().TakeError());
  }
  for (const auto& [step, row] : sampling_) {
    float* logits = llama_get_logits_ith(loaded.context.get(), row);
    if (logits == nullptr) return Fail(Code::kInternal, "libllama has no logits for row {}", row);
    PENSTOCK_ASSIGN(Sampled sampled,
                    Sample(kernels_, *step, {logits, static_cast<size_t>(loaded.vocabulary)}, scratch_));
    result.sampled.push_back(std::move(sampled));
  }
  sampling_.clear();
  return {};
}

}  // namespace

Result<std::unique_ptr<Runner>> MakeRunner(const GgmlOptions& options) {
  if (options.max_sequences < 1 || options.max_sequences > kGgmlSequences) {
    return Fail(Code::kInvalid, "engine.max_sequences: {} at once; the ggml runner serves 1 to {}",
                options.max_sequences, kGgmlSequences);
  }
  PENSTOCK_ASSIGN(const std::string folder, OpenLibllama(options.libraries));
  LoadBackends(folder);
  PENSTOCK_ASSIGN(ggml_backend_dev_t const device, ChooseDevice(options.device, folder));
  return std::make_unique<GgmlRunner>(options, device);
}

}  // namespace penstock::ggml
