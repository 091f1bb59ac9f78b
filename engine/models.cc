#include "engine/models.h"

#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "engine/wire_error.h"

namespace penstock {
namespace {

constexpr int kLowestPriority = 19;

}  // namespace

EngineModels::EngineModels(Runner& runner, Scheduler& scheduler, const EngineOptions& options, Hooks hooks)
    : runner_(runner), scheduler_(scheduler), options_(options), hooks_(std::move(hooks)) {}

EngineModels::~EngineModels() {
  if (thread_.joinable()) thread_.join();
}

const EngineModel* EngineModels::Find(const std::string& name) const {
  const auto it = models_.find(name);
  const bool ready = it != models_.end() && it->second->state.state() == wire::ModelState::READY;
  return ready ? it->second.get() : nullptr;
}

// Null: it was unloaded, or replaced, since.
EngineModel* EngineModels::Of(const std::string& name, uint64_t load) {
  const auto it = models_.find(name);
  return it != models_.end() && it->second->load == load ? it->second.get() : nullptr;
}

void EngineModels::Load(const wire::LoadModel& load) {
  auto& slot = models_[load.name()];
  const bool same = slot && slot->state.path() == load.path();
  if (same && slot->state.state() == wire::ModelState::READY) return hooks_.tell(slot->state);
  if (same && slot->state.state() == wire::ModelState::LOADING) return;
  if (slot) Drop(*slot, "is being replaced");
  slot = std::make_unique<EngineModel>();
  slot->load = ++loads_;
  slot->state.set_name(load.name());
  slot->state.set_path(load.path());
  slot->state.set_state(wire::ModelState::LOADING);
  hooks_.tell(slot->state);
  waiting_.push_back({.load = slot->load, .wanted = load});
  StartNext();
}

void EngineModels::Unload(const std::string& name) {
  if (const auto it = models_.find(name); it != models_.end()) {
    Drop(*it->second, "was unloaded");
    models_.erase(it);
    ShareMemory();
  }
  wire::ModelState state;
  state.set_name(name);
  state.set_state(wire::ModelState::UNLOADED);
  hooks_.tell(state);
}

void EngineModels::Drop(EngineModel& model, std::string_view why) {
  std::erase_if(waiting_, [&](const Waiting& waiting) { return waiting.load == model.load; });
  if (model.state.state() != wire::ModelState::READY) return;
  hooks_.leaving(model, why);
  scheduler_.RemoveModel(model.loaded.id);
  runner_.Unload(model.loaded.id);
}

// ---- the loading thread ----

void EngineModels::StartNext() {
  while (!loading_ && !waiting_.empty()) {
    const Waiting next = std::move(waiting_.front());
    waiting_.pop_front();
    EngineModel& model = *Of(next.wanted.name(), next.load);
    const Result<KvPlan> plan = Plan(next.wanted);
    if (!plan) {
      Failed(model, plan.error());
      continue;
    }
    loading_ =
        Loading{.load = next.load, .name = next.wanted.name(), .path = next.wanted.path(), .use = plan->use};
    ShareMemory();
    const bool alone = std::ranges::none_of(
        models_, [](const auto& one) { return one.second->state.state() == wire::ModelState::READY; });
    thread_ = std::thread([this, alone, options = OptionsOf(next.wanted, *plan)] { Run(options, alone); });
  }
}

void EngineModels::Run(const LoadOptions& options, bool alone) {
  if (!alone) ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), kLowestPriority);
  Result<Outcome> outcome = [&]() -> Result<Outcome> {
    PENSTOCK_ASSIGN(const LoadedModel loaded, runner_.Load(options));
    return Outcome{.loaded = loaded, .pieces = Pieces::Read(options.path, loaded.vocabulary)};
  }();
  {
    const MutexLock lock(mutex_);
    loaded_ = std::move(outcome);
    came_.notify_one();
  }
  hooks_.wake();
}

void EngineModels::Finish(bool wait) {
  while (loading_) {
    std::optional<Result<Outcome>> outcome;
    {
      MutexLock lock(mutex_);
      while (wait && !loaded_) lock.Wait(came_);
      outcome = std::exchange(loaded_, std::nullopt);
    }
    if (!outcome) return;
    thread_.join();
    const Loading loading = *std::exchange(loading_, std::nullopt);
    Settle(loading, *std::move(outcome));
    StartNext();
  }
}

void EngineModels::Settle(const Loading& loading, Result<Outcome> outcome) {
  EngineModel* model = Of(loading.name, loading.load);
  const bool usable = outcome && outcome->pieces && model != nullptr;
  if (outcome && !usable) runner_.Unload(outcome->loaded.id);
  if (usable) {
    Ready(*model, loading.use, *std::move(outcome));
  } else if (model != nullptr) {
    Failed(*model, outcome ? outcome->pieces.error() : outcome.error());
  }
  ShareMemory();
}

void EngineModels::Ready(EngineModel& model, const KvUse& planned, Outcome outcome) {
  model.loaded = std::move(outcome.loaded);
  model.pieces = std::make_shared<const Pieces>(*std::move(outcome.pieces));
  const LoadedModel& loaded = model.loaded;
  const int64_t pages = loaded.page_bytes * loaded.pages;
  model.use = {.weights = loaded.weight_bytes};
  if (loaded.on_demand) {
    model.use.most = planned.most > 0 ? std::min(planned.most, pages) : pages;
    model.use.longest = loaded.page_bytes * PagesFor(loaded.context);
  } else {
    model.use.fixed = pages;
  }
  scheduler_.AddModel(loaded);
  ShareMemory();
  model.state.set_state(wire::ModelState::READY);
  // The longest sequence is limited by memory, too: what the gateway caps max_tokens to.
  model.state.set_context(static_cast<uint32_t>(LongestSequence(loaded)));
  model.state.set_pages(static_cast<uint32_t>(loaded.pages));
  model.state.set_weight_bytes(static_cast<uint64_t>(loaded.weight_bytes));
  model.state.set_page_bytes(static_cast<uint64_t>(loaded.page_bytes));
  model.state.set_kernel(loaded.kernel);
  spdlog::info("model {} is ready: {} MB of weights, {} {} pages of {} KB, kernel {}", model.state.name(),
               loaded.weight_bytes >> 20, loaded.on_demand ? "at most" : "with", loaded.pages,
               loaded.page_bytes >> 10, loaded.kernel);
  hooks_.tell(model.state);
}

void EngineModels::Failed(EngineModel& model, const Error& error) {
  model.state.set_state(wire::ModelState::FAILED);
  SetError(error, model.state);
  spdlog::error("model {} failed to load: {}", model.state.name(), error.message);
  hooks_.tell(model.state);
}

// ---- memory ----

std::vector<KvUse> EngineModels::Uses() const {
  std::vector<KvUse> uses;
  for (const auto& [name, model] : models_) uses.push_back(model->use);
  if (loading_) uses.push_back(loading_->use);
  return uses;
}

Result<KvPlan> EngineModels::Plan(const wire::LoadModel& load) const {
  const uint64_t wanted = load.kv_bytes() > 0 ? load.kv_bytes() : options_.kv_bytes;
  return PlanKv({.path = load.path(),
                 .requested = static_cast<int64_t>(wanted),
                 .memory = static_cast<int64_t>(options_.memory_bytes),
                 .on_demand = runner_.Chip().kv_on_demand},
                Uses());
}

LoadOptions EngineModels::OptionsOf(const wire::LoadModel& load, const KvPlan& plan) const {
  const uint32_t context = load.context() == 0     ? options_.context
                           : options_.context == 0 ? load.context()
                                                   : std::min(load.context(), options_.context);
  return {.path = load.path(),
          .kv_bytes = plan.most,
          .context = static_cast<int32_t>(context),
          .longest_bytes = plan.most,
          .sequences = static_cast<int32_t>(options_.max_sequences)};
}

// A model under way counts from the beginning of its load: what others hold too much is given back meanwhile.
void EngineModels::ShareMemory() {
  scheduler_.SetKvBudget(KvBudget(static_cast<int64_t>(options_.memory_bytes), Uses()));
}

}  // namespace penstock
