#include "runner/native.h"

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <map>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/thread_annotations.h"
#include "chip/cpu.h"
#include "chip/threads.h"
#include "model/model.h"
#include "runner/kv_size.h"
#include "runner/sampler.h"

namespace penstock {
namespace {

using kernels::Isa;

Result<Isa> ChooseIsa(std::optional<Isa> wanted) {
  const auto supported = kernels::SupportedIsas();
  const char* name = std::getenv("PENSTOCK_ISA");
  if (!wanted.has_value() && (name == nullptr || *name == '\0')) return supported.back();
  for (const Isa isa : supported) {
    if (wanted.has_value() ? isa == *wanted : std::string_view(kernels::IsaName(isa)) == name) return isa;
  }
  std::string served;
  for (const Isa isa : supported) fmt::format_to(std::back_inserter(served), " {}", kernels::IsaName(isa));
  return Fail(Code::kUnsupported, "PENSTOCK_ISA: kernel version \"{}\" does not run here; this CPU runs:{}",
              wanted.has_value() ? kernels::IsaName(*wanted) : name, served);
}

struct Loaded {
  std::unique_ptr<Model> model;
  KvPages kv;
  int32_t context = 0;
  std::unordered_map<SequenceId, std::string> aside = {};  // given by other engines: whole pages
};

class NativeRunner final : public Runner {
 public:
  NativeRunner(const NativeOptions& options, Isa isa)
      : kv_type_(options.kv),
        kernels_(kernels::KernelsFor(isa)),
        pool_(options.threads),
        scratch_(pool_.workers()),
        driver_([this] { Drive(); }) {}

  ~NativeRunner() override {
    {
      const MutexLock lock(mutex_);
      stop_ = true;
    }
    wake_.notify_one();
    driver_.join();
  }

  std::string_view Name() const override { return "native"; }
  ChipInfo Chip() const override {
    const size_t cores = chip::UsableCpus().size();
    return {.name = fmt::format("{} {} of {}", cores, cores == 1 ? "core" : "cores", chip::CpuModel()),
            .kernel = kernels::IsaName(kernels_.isa),
            .contract = "penstock-1",
            .memory_bytes = 0,
            .state = kv_type_ == kernels::KvType::kF16 ? "penstock-1 f16" : "penstock-1 f32",
            .kv_on_demand = true};
  }
  Result<LoadedModel> Load(const LoadOptions& options) override;

  void Unload(ModelId model) override {
    const MutexLock lock(computing_);
    models_.erase(model);
  }

  Result<std::string> TakeState(ModelId model, SequenceId sequence, int32_t tokens,
                                std::span<const PageId> pages) override;
  Status GiveState(ModelId model, SequenceId sequence, std::span<const Token> text,
                   std::string state) override;

  void Submit(StepPlan plan, std::function<void(Result<StepResult>)> done) override {
    {
      const MutexLock lock(mutex_);
      plan_ = std::move(plan);
      done_ = std::move(done);
    }
    wake_.notify_one();
  }

 private:
  Result<std::unique_ptr<Model>> Pack(ModelFiles files);
  void Drive();
  Result<StepResult> Step(const StepPlan& plan);
  Status CheckPlan(const StepPlan& plan, const Loaded& loaded) const REQUIRES(computing_);
  static void Apply(const SequenceOp& op, Loaded& loaded);
  Status SampleAll(const StepPlan& plan, std::span<float> logits, int32_t vocabulary, StepResult& result)
      REQUIRES(computing_);

  const kernels::KvType kv_type_;
  const kernels::Kernels& kernels_;

  // Held while the pool computes: a step, or the weights of the first model.
  Mutex computing_;
  chip::ThreadPool pool_;
  std::vector<SamplerScratch> scratch_ GUARDED_BY(computing_);  // by worker
  std::map<ModelId, Loaded> models_ GUARDED_BY(computing_);
  ModelId next_model_ GUARDED_BY(computing_) = 1;

  // The step that the driver is to run.
  Mutex mutex_;
  std::condition_variable wake_;
  StepPlan plan_ GUARDED_BY(mutex_);
  std::function<void(Result<StepResult>)> done_ GUARDED_BY(mutex_);
  bool stop_ GUARDED_BY(mutex_) = false;

  std::thread driver_;  // last: it uses all of the above
};

Result<LoadedModel> NativeRunner::Load(const LoadOptions& options) {
  constexpr int32_t kWithCache = 2;  // the prefix cache may keep as much as all sequences use
  PENSTOCK_ASSIGN(auto files, ModelFiles::Open(options.path));
  PENSTOCK_ASSIGN(const KvSize size, SizeKv(options, KvPages::PageBytes(files.config(), kv_type_),
                                            files.config().context, kWithCache * options.sequences));
  PENSTOCK_ASSIGN(auto model, Pack(std::move(files)));
  PENSTOCK_ASSIGN(auto kv, KvPages::Create(model->config(), kv_type_, size.pages));
  const MutexLock lock(computing_);
  const LoadedModel loaded{.id = next_model_++,
                           .vocabulary = model->vocabulary(),
                           .context = size.context,
                           .pages = size.pages,
                           .weight_bytes = model->weight_bytes(),
                           .page_bytes = kv.page_bytes(),
                           .kernel = kernels::IsaName(kernels_.isa),
                           .on_demand = true};
  models_.emplace(loaded.id, Loaded{std::move(model), std::move(kv), loaded.context});
  return loaded;
}

// The first model is packed by the pool that computes. While others may compute, threads of its own pack a
// model, with the caller's low priority, on the same cores: steps push them aside.
Result<std::unique_ptr<Model>> NativeRunner::Pack(ModelFiles files) {
  {
    const MutexLock lock(computing_);
    if (models_.empty()) return Model::Load(std::move(files), WeightMode::kPacked, kernels_, pool_);
  }
  chip::ThreadPool packing(pool_.workers());
  return Model::Load(std::move(files), WeightMode::kPacked, kernels_, pool_, packing);
}

void NativeRunner::Drive() {
  pool_.PinCaller();
  MutexLock lock(mutex_);
  for (;;) {
    while (!stop_ && done_ == nullptr) lock.Wait(wake_);
    if (done_ == nullptr) return;  // stopped, and nothing under way
    const StepPlan plan = std::move(plan_);
    const auto done = std::exchange(done_, nullptr);
    lock.Unlock();
    done(Step(plan));
    lock.Lock();
  }
}

Result<StepResult> NativeRunner::Step(const StepPlan& plan) {
  const MutexLock computing(computing_);
  const Nanos begin = SystemClock().Monotonic();
  const auto it = models_.find(plan.model);
  if (it == models_.end()) return Fail(Code::kNotFound, "model {} is not loaded in this engine", plan.model);
  Loaded& loaded = it->second;
  PENSTOCK_TRY(CheckPlan(plan, loaded));
  for (const FreedPage& freed : plan.freed) models_.at(freed.model).kv.Free(freed.page);
  for (const SequenceOp& op : plan.ops) Apply(op, loaded);
  std::vector<Chunk> chunks;
  for (const SequenceStep& work : plan.work) {
    chunks.push_back({work.start, work.tokens, work.pages, work.sample ? 1 : 0});
  }
  StepResult result;
  if (!chunks.empty()) {
    const auto logits = loaded.model->Run(chunks, loaded.kv);
    PENSTOCK_TRY(SampleAll(plan, logits, loaded.model->vocabulary(), result));
  }
  result.chip_time = SystemClock().Monotonic() - begin;
  return result;
}

bool Given(const SequenceOp& op, const Loaded& loaded) {
  const auto given = loaded.aside.find(op.to);
  return given != loaded.aside.end() &&
         given->second.size() == op.pages.size() * static_cast<size_t>(loaded.kv.page_bytes());
}

// A wrong plan would write over another sequence's memory: it costs little to look.
Status NativeRunner::CheckPlan(const StepPlan& plan, const Loaded& loaded) const {
  const auto in_memory = [&](PageId page) { return page >= 0 && page < loaded.kv.pages(); };
  for (const FreedPage& freed : plan.freed) {
    const auto model = models_.find(freed.model);
    if (model == models_.end() || freed.page < 0 || freed.page >= model->second.kv.pages())
      return Fail(Code::kInternal, "the plan frees page {} of model {}", freed.page, freed.model);
  }
  for (const SequenceOp& op : plan.ops) {
    const bool copies = op.kind == SequenceOp::Kind::kCopyPage,
               zeroes = op.kind == SequenceOp::Kind::kZeroPage;
    const bool restores = op.kind == SequenceOp::Kind::kRestore;
    if (restores && (!std::ranges::all_of(op.pages, in_memory) || !Given(op, loaded))) {
      return Fail(Code::kInternal, "the plan restores sequence {}, of which nothing such is aside", op.to);
    }
    if ((copies && !in_memory(op.from_page)) || ((copies || zeroes) && !in_memory(op.to_page))) {
      return Fail(Code::kInternal, "the plan names page {} or {} of {}", op.from_page, op.to_page,
                  loaded.kv.pages());
    }
  }
  for (const SequenceStep& work : plan.work) {
    const auto end = int64_t{work.start} + static_cast<int64_t>(work.tokens.size());
    if (work.tokens.empty() || work.start < 0 || end > loaded.context ||
        static_cast<int64_t>(work.pages.size()) < PagesFor(static_cast<int32_t>(end)) ||
        !std::ranges::all_of(work.pages, in_memory)) {
      return Fail(Code::kInternal,
                  "sequence {}: {} tokens from {} do not fit its {} pages or the context of {}",
                  work.sequence, work.tokens.size(), work.start, work.pages.size(), loaded.context);
    }
    for (const Token token : work.tokens) {
      if (token < 0 || token >= loaded.model->vocabulary()) {
        return Fail(Code::kInvalid, "token {} is not in the model's vocabulary of {}", token,
                    loaded.model->vocabulary());
      }
    }
  }
  return {};
}

void NativeRunner::Apply(const SequenceOp& op, Loaded& loaded) {
  switch (op.kind) {
    case SequenceOp::Kind::kCopyPage:
      return loaded.kv.Copy(op.from_page, op.to_page);
    case SequenceOp::Kind::kZeroPage:
      return loaded.kv.Zero(op.to_page);
    case SequenceOp::Kind::kSave:  // its KV memory is this machine's: it has no room aside
      return;
    case SequenceOp::Kind::kRestore: {
      const auto given = loaded.aside.extract(op.to);
      const auto size = static_cast<size_t>(loaded.kv.page_bytes());
      for (size_t i = 0; i < op.pages.size(); ++i)
        std::memcpy(loaded.kv.Keys(op.pages[i], 0, 0), given.mapped().data() + i * size, size);
      return;
    }
    case SequenceOp::Kind::kDrop:
      loaded.aside.erase(op.from);
      return;
  }
}

// A page's bytes mean the same to every kernel version.
Result<std::string> NativeRunner::TakeState(ModelId model, SequenceId /*sequence*/, int32_t tokens,
                                            std::span<const PageId> pages) {
  const MutexLock lock(computing_);
  const KvPages& kv = models_.at(model).kv;
  std::string state;
  for (const PageId page : pages.first(static_cast<size_t>(PagesFor(tokens)))) {
    state.append(reinterpret_cast<const char*>(kv.Keys(page, 0, 0)), static_cast<size_t>(kv.page_bytes()));
  }
  return state;
}

Status NativeRunner::GiveState(ModelId model, SequenceId sequence, std::span<const Token> text,
                               std::string state) {
  const MutexLock lock(computing_);
  Loaded& loaded = models_.at(model);
  const int64_t bytes = loaded.kv.page_bytes() * PagesFor(static_cast<int32_t>(text.size()));
  if (static_cast<int64_t>(state.size()) != bytes) {
    return Fail(Code::kInvalid, "{} bytes of keys and values are given for {} tokens, which take {} here",
                state.size(), text.size(), bytes);
  }
  loaded.aside[sequence] = std::move(state);
  return {};
}

Status NativeRunner::SampleAll(const StepPlan& plan, std::span<float> logits, int32_t vocabulary,
                               StepResult& result) {
  std::vector<const SequenceStep*> sampling;
  for (const SequenceStep& work : plan.work) {
    if (work.sample) sampling.push_back(&work);
  }
  std::vector<Result<Sampled>> sampled(sampling.size());
  std::span<SamplerScratch> scratch = scratch_;
  pool_.For(static_cast<int64_t>(sampling.size()), 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t i = begin; i < end; ++i) {
      const auto row = logits.subspan(static_cast<size_t>(i * vocabulary), static_cast<size_t>(vocabulary));
      sampled[static_cast<size_t>(i)] =
          Sample(kernels_, *sampling[static_cast<size_t>(i)], row, scratch[static_cast<size_t>(worker)]);
    }
  });
  for (auto& one : sampled) {
    PENSTOCK_ASSIGN(auto value, std::move(one));
    result.sampled.push_back(std::move(value));
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Runner>> MakeNativeRunner(const NativeOptions& options) {
  PENSTOCK_ASSIGN(const Isa isa, ChooseIsa(options.isa));
  return std::make_unique<NativeRunner>(options, isa);
}

}  // namespace penstock
