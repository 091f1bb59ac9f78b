// The scheduler's pages: taken, given back, put aside; and the budget that on-demand models share.
//
// Pages in use and cached pages count against the budget; a cached page is evicted, the least recently used
// of all models first, when anybody needs its memory. So a model needs no memory set apart for it, and what
// one takes another lacks. Who may take how much, when several models want more than there is:
//
// - Each busy model has an equal part. Above its part it leaves to the others what their next sequence needs,
// so
//   its sequences give way as if its own memory were full (sched/planner.h: the youngest first).
// - A model below its part that lacks memory pushes out sequences that wait for their readers, then younger
// ones
//   of models above their part.
// - The engine's eldest sequence gets what it needs before any part counts. Whoever is pushed out is younger,
// or
//   waits for its reader, so the eldest always ends: no deadlock, and no model waits for ever.
#include <algorithm>

#include "base/check.h"
#include "sched/scheduler_parts.h"

namespace penstock {

void Scheduler::SetKvBudget(int64_t bytes) {
  shrunk_ |= bytes < kv_budget_;
  kv_budget_ = bytes;
}

int64_t Scheduler::InUse() const {
  int64_t bytes = 0;
  for (const auto& [id, model] : models_) bytes += model->in_use_bytes();
  return bytes;
}

int64_t Scheduler::HeldBytes() const {
  int64_t bytes = 0;
  for (const auto& [id, model] : models_) bytes += model->held_bytes();
  return bytes;
}

int32_t Scheduler::MostPages(const Model& model) const {
  if (!model.info.on_demand) return model.info.pages;
  return static_cast<int32_t>(std::min<int64_t>(model.info.pages, kv_budget_ / model.info.page_bytes));
}

// What TakePage can give, cached pages included.
int32_t Scheduler::Physical(const Model& model) const {
  if (!model.info.on_demand) return model.pool.available();
  const int64_t pages = (kv_budget_ - InUse()) / model.info.page_bytes;
  return static_cast<int32_t>(std::clamp<int64_t>(pages, 0, model.pool.available()));
}

int64_t Scheduler::Part() const {
  int64_t busy = 0;
  for (const auto& [id, model] : models_) busy += model->info.on_demand && model->busy() ? 1 : 0;
  return kv_budget_ / std::max<int64_t>(busy, 1);
}

// The waiting sequence that is to be admitted next, and the pages that it needs then.
std::optional<Scheduler::Want> Scheduler::NextWant(const Model& model) const {
  if (model.waiting.empty() || FreeSlots(model) == 0) return std::nullopt;
  const std::vector<WaitingView> views = ViewWaiting(model, 0);
  if (views.empty()) return std::nullopt;
  // With a page of growth for each that runs, as the planner asks for.
  const auto growth = static_cast<int32_t>(model.running.size());
  return Want{.id = views.front().id, .pages = views.front().pages_needed + growth};
}

// The oldest sequence of all on-demand models that could go on if it had memory.
std::optional<Scheduler::Want> Scheduler::Eldest(const Model& model) const {
  std::optional<Want> eldest = NextWant(model);
  for (const auto& [id, sequence] : model.running) {
    if (sequence->starved()) continue;
    if (!eldest || id < eldest->id) eldest = Want{.id = id, .pages = 1};
    break;
  }
  return eldest;
}

bool Scheduler::HoldsEldest(const Model& model, SequenceId id) const {
  return std::ranges::none_of(models_, [&](const auto& other) {
    if (other.second.get() == &model || !other.second->info.on_demand) return false;
    const auto eldest = Eldest(*other.second);
    return eldest && eldest->id < id;
  });
}

// Pages that the planner may give out for a model in this step.
int32_t Scheduler::Available(const Model& model) const {
  const int32_t physical = Physical(model);
  if (!model.info.on_demand || physical == 0) return physical;
  const int64_t page = model.info.page_bytes, free = kv_budget_ - InUse(), part = Part();
  int64_t kept = 0;  // for others
  for (const auto& [id, other] : models_) {
    if (other.get() == &model || !other->info.on_demand) continue;
    const auto want = NextWant(*other);
    if (want)
      kept += std::clamp<int64_t>(want->pages * other->info.page_bytes, 0,
                                  std::max<int64_t>(part - other->in_use_bytes(), 0));
  }
  if (kept == 0) return physical;
  int64_t may = std::max(free - kept, std::min(part - model.in_use_bytes(), free));
  if (const auto eldest = Eldest(model); eldest && HoldsEldest(model, eldest->id))
    may = std::max(may, std::min(eldest->pages * page, free));
  return static_cast<int32_t>(std::clamp<int64_t>(may / page, 0, physical));
}

// Pushes out one sequence of another model for one that lacks memory here. False: nobody is to give way.
bool Scheduler::Reclaim(Model& model) {
  if (!model.info.on_demand) return false;
  const auto want = NextWant(model);
  if (!want || want->pages <= Available(model)) return false;
  const int64_t part = Part();
  const bool eldest = HoldsEldest(model, want->id), poor = model.in_use_bytes() < part;
  Model* owner = nullptr;
  SequenceId victim = 0;
  bool victim_starved = false;
  for (const auto& [model_id, other] : models_) {
    if (other.get() == &model || !other->info.on_demand) continue;
    const bool rich = other->in_use_bytes() > part;
    for (const auto& [id, sequence] : other->running) {
      const bool starved = sequence->starved();
      if (!starved && (id < want->id || !(eldest || (poor && rich)))) continue;
      if (std::pair(starved, id) <= std::pair(victim_starved, victim)) continue;
      owner = other.get();
      victim = id;
      victim_starved = starved;
    }
  }
  if (owner == nullptr) return false;
  Preempt(*owner, victim);
  return true;
}

// Evicts what is least recently used, of whichever model.
void Scheduler::MakeRoom(int64_t bytes, StepPlan& plan) {
  while (HeldBytes() + bytes > kv_budget_) {
    const FreedPage page = EvictOldest();
    plan.freed.push_back(page);
  }
}

FreedPage Scheduler::EvictOldest() {
  Model* oldest = nullptr;
  for (const auto& [id, model] : models_) {
    if (!model->info.on_demand || model->pool.cached() == 0) continue;
    if (oldest == nullptr || model->pool.OldestCached() < oldest->pool.OldestCached()) oldest = model.get();
  }
  PENSTOCK_CHECK(oldest != nullptr);
  const PageId page = oldest->pool.Evict();
  oldest->cache.Forget(page);
  oldest->to_zero.push_back(page);
  return {.model = oldest->info.id, .page = page};
}

// After the budget shrank: the youngest sequences give way, then cached pages. True: there are pages to free.
bool Scheduler::KeepToBudget() {
  if (!std::exchange(shrunk_, false)) return false;
  while (InUse() > kv_budget_) {
    Model* owner = nullptr;
    for (const auto& [id, model] : models_) {
      if (!model->info.on_demand || model->running.empty()) continue;
      if (owner == nullptr || model->running.rbegin()->first > owner->running.rbegin()->first)
        owner = model.get();
    }
    PENSTOCK_CHECK(owner != nullptr);
    Preempt(*owner, owner->running.rbegin()->first);
  }
  while (HeldBytes() > kv_budget_) EvictOldest();
  return !Freed().empty();
}

std::vector<Scheduler::Model*> Scheduler::Freeing() {
  std::vector<Model*> models;
  for (const auto& [id, model] : models_) {
    if (model->info.on_demand || model.get() == stepping_) models.push_back(model.get());
  }
  return models;
}

std::vector<FreedPage> Scheduler::Freed() const {
  std::vector<FreedPage> freed;
  for (const auto& [id, model] : models_) {
    if (!model->info.on_demand) continue;
    for (const PageId page : model->to_zero) freed.push_back({.model = id, .page = page});
  }
  return freed;
}

// A step that computes nothing: memory is needed elsewhere, and nobody else would give it back.
std::optional<StepPlan> Scheduler::FreeOnly() {
  StepPlan plan;
  plan.freed = Freed();
  plan.model = plan.freed.front().model;
  stepping_ = models_.at(plan.model).get();
  return plan;
}

PageId Scheduler::TakePage(Model& model, StepPlan& plan) {
  if (model.info.on_demand) MakeRoom(model.info.page_bytes, plan);
  const PagePool::Taken taken = model.pool.Take();
  if (taken.evicted) {
    model.cache.Forget(taken.page);
    plan.ops.push_back({.kind = SequenceOp::Kind::kZeroPage, .to_page = taken.page});
  }
  return taken.page;
}

// Last page first: a page is then never evicted before those that can only be found through it.
void Scheduler::ReleasePages(Model& model, Sequence& sequence) {
  ++releases_;
  for (size_t i = sequence.pages.size(); i-- > 0;) {
    if (model.pool.Release(sequence.pages[i], releases_)) model.to_zero.push_back(sequence.pages[i]);
  }
  sequence.pages.clear();
  sequence.computed = sequence.remembered = 0;
  sequence.serial = 0;
}

// Before its pages are given back: what it computed is put aside if there is room.
void Scheduler::Save(Model& model, Sequence& sequence) {
  const int32_t pages = PagesFor(sequence.computed);
  if (model.info.on_demand) return;  // what it held is freed by whichever model's step comes next
  if (pages == 0 || pages > model.info.aside_pages - model.aside_used) return;
  model.aside_used += pages;
  sequence.saved = sequence.computed;
  model.aside.push_back({.kind = SequenceOp::Kind::kSave,
                         .from = sequence.id,
                         .tokens = sequence.saved,
                         .pages = {sequence.pages.begin(), sequence.pages.begin() + pages}});
}

void Scheduler::Drop(Model& model, Sequence& sequence) {
  if (sequence.saved == 0) return;
  model.aside_used -= PagesFor(std::exchange(sequence.saved, 0));
  model.aside.push_back({.kind = SequenceOp::Kind::kDrop, .from = sequence.id});
}

SchedulerStats Scheduler::Stats() const {
  SchedulerStats stats{.running = static_cast<uint32_t>(running_),
                       .preemptions = preemptions_,
                       .prefix_hit_tokens = prefix_hit_tokens_,
                       .computed_tokens = computed_tokens_,
                       .restored_tokens = restored_tokens_};
  int64_t shared = 0, largest = 0;
  for (const auto& [id, model] : models_) {
    stats.waiting += static_cast<uint32_t>(model->waiting.size());
    if (model->info.on_demand) {
      shared += model->pool.available();
      largest = std::max(largest, model->info.page_bytes);
    } else {
      stats.free_pages += static_cast<uint32_t>(model->pool.available());
    }
    stats.cached_pages += static_cast<uint32_t>(model->pool.cached());
  }
  if (largest > 0) {  // in pages of the largest kind, so that nobody counts on more than there is
    const int64_t free = std::max<int64_t>(kv_budget_ - InUse(), 0) / largest;
    stats.free_pages += static_cast<uint32_t>(std::min<int64_t>(shared, free));
  }
  return stats;
}

void Scheduler::CheckIntegrity() const {
  int32_t running = 0;
  size_t sequences = 0;
  for (const auto& [id, model] : models_) {
    model->pool.CheckIntegrity();
    std::vector<int32_t> references(static_cast<size_t>(model->info.pages), 0);
    for (const auto& [sequence_id, sequence] : model->running) {
      PENSTOCK_CHECK(PagesFor(sequence->computed) <= static_cast<int32_t>(sequence->pages.size()));
      for (PageId page : sequence->pages) ++references[static_cast<size_t>(page)];
    }
    int32_t aside = 0;
    for (const auto& [sequence_id, sequence] : model->waiting) {
      PENSTOCK_CHECK(sequence->pages.empty());
      aside += PagesFor(sequence->saved);
    }
    PENSTOCK_CHECK(aside == model->aside_used && aside <= model->info.aside_pages);
    for (PageId page = 0; page < model->info.pages; ++page) {
      PENSTOCK_CHECK(references[static_cast<size_t>(page)] == model->pool.references(page));
    }
    running += static_cast<int32_t>(model->running.size());
    sequences += model->running.size() + model->waiting.size();
  }
  PENSTOCK_CHECK(running == running_ && sequences == sequences_.size());
}

}  // namespace penstock
