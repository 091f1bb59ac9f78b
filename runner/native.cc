#include "runner/native.h"

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "chip/cpu.h"
#include "chip/threads.h"
#include "model/model.h"
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

double Gigabytes(int64_t bytes) {
  return static_cast<double>(bytes) / 1e9;
}

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
      const std::lock_guard lock(mutex_);
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
            .state = kv_type_ == kernels::KvType::kF16 ? "penstock-1 f16" : "penstock-1 f32"};
  }
  Result<LoadedModel> Load(const LoadOptions& options) override;

  void Unload(ModelId model) override {
    const std::lock_guard lock(computing_);
    models_.erase(model);
  }

  Result<std::string> TakeState(ModelId model, SequenceId sequence, int32_t tokens,
                                std::span<const PageId> pages) override;
  Status GiveState(ModelId model, SequenceId sequence, std::span<const Token> text,
                   std::string state) override;

  void Submit(StepPlan plan, std::function<void(Result<StepResult>)> done) override {
    {
      const std::lock_guard lock(mutex_);
      plan_ = std::move(plan);
      done_ = std::move(done);
    }
    wake_.notify_one();
  }

 private:
  int64_t Available() const;
  Result<int32_t> ChoosePages(const ModelFiles& files, const LoadOptions& options, int32_t context) const;
  void Drive();
  Result<StepResult> Step(const StepPlan& plan);
  Status CheckPlan(const StepPlan& plan, const Loaded& loaded) const;
  static void Apply(const SequenceOp& op, Loaded& loaded);
  Status SampleAll(const StepPlan& plan, std::span<float> logits, int32_t vocabulary, StepResult& result);

  const kernels::KvType kv_type_;
  const kernels::Kernels& kernels_;

  // Loading and computing share the pool: one at a time.
  std::mutex computing_;
  chip::ThreadPool pool_;
  std::vector<SamplerScratch> scratch_;  // by worker
  std::map<ModelId, Loaded> models_;
  ModelId next_model_ = 1;

  // Protected by mutex_: the step that the driver is to run.
  std::mutex mutex_;
  std::condition_variable wake_;
  StepPlan plan_;
  std::function<void(Result<StepResult>)> done_;
  bool stop_ = false;

  std::thread driver_;  // last: it uses all of the above
};

Result<LoadedModel> NativeRunner::Load(const LoadOptions& options) {
  const std::lock_guard lock(computing_);
  PENSTOCK_ASSIGN(auto files, ModelFiles::Open(options.path));
  const int32_t own = files.config().context;
  const int32_t context = options.context > 0 ? std::min(options.context, own) : own;
  PENSTOCK_ASSIGN(const int32_t pages, ChoosePages(files, options, context));
  PENSTOCK_ASSIGN(auto model, Model::Load(std::move(files), WeightMode::kPacked, kernels_, pool_));
  PENSTOCK_ASSIGN(auto kv, KvPages::Create(model->config(), kv_type_, pages));
  const LoadedModel loaded{.id = next_model_++,
                           .vocabulary = model->vocabulary(),
                           .context = std::min(context, pages * kPageTokens),
                           .pages = pages,
                           .weight_bytes = model->weight_bytes(),
                           .page_bytes = kv.page_bytes(),
                           .kernel = kernels::IsaName(kernels_.isa)};
  models_.emplace(loaded.id, Loaded{std::move(model), std::move(kv), loaded.context});
  return loaded;
}

// What is free and promised to no loaded model's KV memory; 0: the system does not say.
int64_t NativeRunner::Available() const {
  const int64_t free = chip::QueryMemory().available;
  int64_t promised = 0;
  for (const auto& [id, loaded] : models_) promised += loaded.kv.UntouchedBytes();
  return free == 0 ? 0 : std::max<int64_t>(1, free - promised);
}

// As many as were asked for; else what 16 sequences of the full context want, within half of what the
// weights leave free.
Result<int32_t> NativeRunner::ChoosePages(const ModelFiles& files, const LoadOptions& options,
                                          int32_t context) const {
  constexpr int64_t kSequences = 16, kMaxPages = 1 << 26;
  const int64_t page = KvPages::PageBytes(files.config(), kv_type_);
  const int64_t available = Available();
  const int64_t weights = files.bytes() + files.bytes() / 16;  // repacked; a few per cent for alignment
  const int64_t left = available - weights - kNativeHeadroom;
  int64_t bytes = options.kv_bytes;
  if (bytes <= 0)
    bytes = std::min(kSequences * PagesFor(context) * page, available == 0 ? INT64_MAX : left / 2);
  if (available > 0 && (left < page || bytes > left)) {
    return Fail(
        Code::kOverloaded,
        "{} is too large for the memory that is free: it needs {:.1f} GB of weights and {:.1f} GB of KV "
        "memory, "
        "{:.1f} GB are free: unload another model, use a smaller quantisation or give it less KV memory",
        files.path(), Gigabytes(weights), Gigabytes(std::max(bytes, page)), Gigabytes(available));
  }
  const int64_t pages = std::min(bytes / page, kMaxPages);
  if (pages < 1) {
    return Fail(Code::kInvalid, "{}: {} bytes of KV memory do not hold one page of {} bytes: give it more",
                files.path(), bytes, page);
  }
  return static_cast<int32_t>(pages);
}

void NativeRunner::Drive() {
  pool_.PinCaller();
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stop_ || done_ != nullptr; });
    if (done_ == nullptr) return;  // stopped, and nothing under way
    const StepPlan plan = std::move(plan_);
    const auto done = std::exchange(done_, nullptr);
    lock.unlock();
    done(Step(plan));
    lock.lock();
  }
}

Result<StepResult> NativeRunner::Step(const StepPlan& plan) {
  const std::lock_guard computing(computing_);
  const Nanos begin = SystemClock().Monotonic();
  const auto it = models_.find(plan.model);
  if (it == models_.end()) return Fail(Code::kNotFound, "model {} is not loaded in this engine", plan.model);
  Loaded& loaded = it->second;
  PENSTOCK_TRY(CheckPlan(plan, loaded));
  for (const SequenceOp& op : plan.ops) Apply(op, loaded);
  std::vector<Chunk> chunks;
  for (const SequenceStep& work : plan.work) {
    chunks.push_back({work.start, work.tokens, work.pages, work.sample ? 1 : 0});
  }
  const auto logits = loaded.model->Run(chunks, loaded.kv);
  StepResult result;
  PENSTOCK_TRY(SampleAll(plan, logits, loaded.model->vocabulary(), result));
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
  const KvPages& kv = models_.at(model).kv;
  std::string state;
  for (const PageId page : pages.first(static_cast<size_t>(PagesFor(tokens)))) {
    state.append(reinterpret_cast<const char*>(kv.Keys(page, 0, 0)), static_cast<size_t>(kv.page_bytes()));
  }
  return state;
}

Status NativeRunner::GiveState(ModelId model, SequenceId sequence, std::span<const Token> text,
                               std::string state) {
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
  pool_.For(static_cast<int64_t>(sampling.size()), 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t i = begin; i < end; ++i) {
      const auto row = logits.subspan(static_cast<size_t>(i * vocabulary), static_cast<size_t>(vocabulary));
      sampled[static_cast<size_t>(i)] =
          Sample(kernels_, *sampling[static_cast<size_t>(i)], row, scratch_[static_cast<size_t>(worker)]);
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
