#include "sched/scheduler.h"

#include <algorithm>

#include "base/check.h"
#include "sched/scheduler_parts.h"

namespace penstock {

int32_t LongestSequence(const LoadedModel& model) {
  return static_cast<int32_t>(std::min<int64_t>(model.context, int64_t{model.pages} * kPageTokens));
}

Scheduler::Scheduler(SchedulerOptions options) : options_(options) {}
Scheduler::~Scheduler() = default;

void Scheduler::AddModel(const LoadedModel& model) {
  models_[model.id] = std::make_unique<Model>(model);
}

void Scheduler::RemoveModel(ModelId model) {
  const auto it = models_.find(model);
  PENSTOCK_CHECK(it != models_.end() && !it->second->busy());
  models_.erase(it);
}

Result<SequenceId> Scheduler::Add(NewSequence fresh) {
  const auto it = models_.find(fresh.model);
  PENSTOCK_CHECK(it != models_.end());
  Model& model = *it->second;
  if (fresh.prompt.empty()) return Fail(Code::kInvalid, "the prompt has no tokens; send at least one");
  for (Token token : fresh.prompt) {
    if (token < 0 || token >= model.info.vocabulary) {
      return Fail(Code::kInvalid, "token {} is outside the model's vocabulary of {}", token,
                  model.info.vocabulary);
    }
  }
  const auto total = static_cast<int64_t>(fresh.prompt.size()) + std::min(fresh.max_tokens, int64_t{1} << 31);
  if (total > model.info.context) {
    return Fail(Reason::kContextTooLong,
                "a prompt of {} tokens and up to {} more exceed the model's context of {}; shorten the "
                "prompt or lower max_tokens",
                fresh.prompt.size(), fresh.max_tokens, model.info.context);
  }
  const int32_t pages = PagesFor(static_cast<int32_t>(total));
  if (pages > MostPages(model)) {
    return Fail(Code::kTooLarge,
                "the request needs {} pages of {} tokens and the engine has {} for this model; shorten it or "
                "give the model more KV memory",
                pages, kPageTokens, MostPages(model));
  }
  auto owned = std::make_unique<Owned>();
  owned->model = &model;
  Sequence& sequence = owned->sequence;
  sequence.id = next_id_++;
  sequence.prompt_tokens = static_cast<int32_t>(fresh.prompt.size()) - fresh.generated;
  sequence.sampling = std::move(fresh.sampling);
  sequence.credits = fresh.credits;
  sequence.lead = fresh.lead;
  sequence.root = options_.prefix_cache && model.info.shares_pages ? model.cache.Root(fresh.prefix_scope) : 0;
  sequence.tokens = std::move(fresh.prompt);
  if (!model.busy()) {  // idling saves nothing up
    Nanos least = -1;
    for (const auto& [id, other] : models_) {
      if (other->busy() && (least < 0 || other->served < least)) least = other->served;
    }
    model.served = std::max(model.served, least);
  }
  model.waiting.emplace(sequence.id, &sequence);
  const SequenceId id = sequence.id;
  sequences_.emplace(id, std::move(owned));
  return id;
}

const Sequence* Scheduler::Find(SequenceId id) const {
  const auto it = sequences_.find(id);
  return it == sequences_.end() ? nullptr : &it->second->sequence;
}

void Scheduler::PutAside(SequenceId id, int32_t tokens) {
  Owned& owned = *sequences_.at(id);
  PENSTOCK_CHECK(!owned.sequence.admitted_before && owned.sequence.saved == 0);
  PENSTOCK_CHECK(tokens > 0 && tokens < owned.sequence.known());
  owned.sequence.saved = tokens;
  owned.sequence.root = 0;  // what another engine computed is shared with nobody
  owned.model->aside_used += PagesFor(tokens);
}

void Scheduler::Grant(SequenceId id, int64_t tokens) {
  const auto it = sequences_.find(id);
  if (it == sequences_.end() || it->second->sequence.credits < 0) return;
  it->second->sequence.credits += tokens;
  it->second->sequence.starved_told = false;
}

void Scheduler::Finish(SequenceId id) {
  PENSTOCK_CHECK(stepping_ == nullptr);
  const auto it = sequences_.find(id);
  PENSTOCK_CHECK(it != sequences_.end());
  Model& model = *it->second->model;
  Drop(model, it->second->sequence);
  ReleasePages(model, it->second->sequence);
  running_ -= static_cast<int32_t>(model.running.erase(id));
  model.waiting.erase(id);
  sequences_.erase(it);
}

std::vector<Scheduler::Model*> Scheduler::ByService() {
  std::vector<Model*> models;
  for (const auto& [id, model] : models_) {
    if (model->busy()) models.push_back(model.get());
  }
  std::ranges::sort(models, {}, [](const Model* model) { return std::pair(model->served, model->info.id); });
  return models;
}

std::optional<StepPlan> Scheduler::Next() {
  PENSTOCK_CHECK(stepping_ == nullptr);
  work_.clear();
  const bool shrunk = KeepToBudget();
  for (Model* model : ByService()) {
    auto plan = NextOf(*model);
    while (!plan && Reclaim(*model)) plan = NextOf(*model);
    if (!plan) continue;
    stepping_ = model;
    return plan;
  }
  return shrunk ? FreeOnly() : std::nullopt;
}

// Slots that `model` may fill: all that are free, less what other models that wait have not yet got of
// their equal part.
int32_t Scheduler::FreeSlots(const Model& model) const {
  int32_t busy = 0;
  for (const auto& [id, other] : models_) busy += other->busy() ? 1 : 0;
  const int32_t part = options_.max_sequences / std::max(busy, 1);
  int32_t free = options_.max_sequences - running_;
  for (const auto& [id, other] : models_) {
    if (other.get() == &model || other->waiting.empty()) continue;
    free -= std::max(0, part - static_cast<int32_t>(other->running.size()));
  }
  const int32_t own =
      std::min(part - static_cast<int32_t>(model.running.size()), options_.max_sequences - running_);
  return std::max({free, own, 0});
}

// A choice waits for its lead to have computed the prompt that they share.
bool Scheduler::Eligible(const Sequence& sequence) const {
  if (sequence.starved()) return false;
  const Sequence* lead = sequence.lead == 0 ? nullptr : Find(sequence.lead);
  return lead == nullptr || lead->starved() || lead->computed >= sequence.prompt_tokens;
}

Scheduler::Start Scheduler::FindStart(const Model& model, const Sequence& sequence) const {
  PrefixCache::Hit hit = model.cache.Find(sequence.root, sequence.tokens);
  if (sequence.saved > static_cast<int32_t>(hit.pages.size()) * kPageTokens) {
    return {.restored_tokens = sequence.saved, .serial = sequence.root};
  }
  const Sequence* lead = sequence.lead == 0 ? nullptr : Find(sequence.lead);
  // The last prompt token is computed again: each choice draws from its logits with its own seed.
  const int32_t common = sequence.prompt_tokens - 1;
  const auto full = static_cast<size_t>(common / kPageTokens);
  if (lead == nullptr || !model.info.shares_pages || lead->computed <= common || hit.pages.size() > full) {
    return {.shared = std::move(hit.pages), .serial = hit.last};
  }
  Start start{.copied_tokens = common % kPageTokens, .from_lead = true};
  start.shared.assign(lead->pages.begin(), lead->pages.begin() + static_cast<ptrdiff_t>(full));
  if (start.copied_tokens > 0) start.copy = lead->pages[full];
  start.serial = hit.pages.size() == full ? hit.last : 0;
  return start;
}

std::vector<RunningView> Scheduler::ViewRunning(Model& model) {
  std::vector<RunningView> views;
  views.reserve(model.running.size());
  for (const auto& [id, sequence] : model.running) {
    if (sequence->starved() && !std::exchange(sequence->starved_told, true))
      turns_.emplace_back(id, Turn::kStarved);
    const auto held =
        std::ranges::count_if(sequence->pages, [&](PageId page) { return model.pool.references(page) == 1; });
    views.push_back({.id = id,
                     .remaining = sequence->remaining(),
                     .needs_page = PagesFor(sequence->known()) > static_cast<int32_t>(sequence->pages.size()),
                     .starved = sequence->starved(),
                     .held_pages = static_cast<int32_t>(held)});
  }
  return views;
}

// Only as many as one step could take in.
std::vector<WaitingView> Scheduler::ViewWaiting(const Model& model, int32_t slots) const {
  std::vector<WaitingView> views;
  int32_t tokens = 0;
  for (const auto& [id, sequence] : model.waiting) {
    if (tokens >= options_.step_tokens || static_cast<int32_t>(views.size()) > slots) break;
    if (!Eligible(*sequence)) continue;
    const Start start = FindStart(model, *sequence);
    const auto idle =
        std::ranges::count_if(start.shared, [&](PageId page) { return model.pool.references(page) == 0; });
    const auto shared = static_cast<int32_t>(start.shared.size());
    views.push_back({.id = id,
                     .remaining = sequence->known() - start.tokens(),
                     .pages_needed = PagesFor(sequence->known()) - shared + static_cast<int32_t>(idle)});
    tokens += views.back().remaining;
  }
  return views;
}

std::optional<StepPlan> Scheduler::NextOf(Model& model) {
  while (true) {
    const std::vector<RunningView> running = ViewRunning(model);
    const int32_t slots = FreeSlots(model);
    const std::vector<WaitingView> waiting = ViewWaiting(model, slots);
    const PlanDecision decision =
        DecideStep({.running = running, .waiting = waiting, .available_pages = Available(model)},
                   {.step_tokens = options_.step_tokens, .free_slots = slots});
    StepPlan plan;
    plan.model = model.info.id;
    for (SequenceId id : decision.preempt) Preempt(model, id);
    plan.ops = model.aside;
    // Before anything may take them: nobody's text stays in memory, and runners see what is no longer needed.
    plan.freed = Freed();
    for (PageId page : model.to_zero) {
      if (model.info.on_demand) break;  // they are in plan.freed
      plan.ops.push_back({.kind = SequenceOp::Kind::kZeroPage, .to_page = page});
    }
    size_t next = 0;
    // Running sequences take their pages before newcomers do.
    for (; next < decision.work.size(); ++next) {
      const auto it = model.running.find(decision.work[next].id);
      if (it == model.running.end()) break;
      Compute(model, *it->second, decision.work[next].tokens, plan);
    }
    for (; next < decision.work.size(); ++next) {
      // The decision is an upper bound: what a victim shared with a newcomer was counted twice.
      if (!Admit(model, decision.work[next].id, plan)) break;
      Compute(model, *model.running.at(decision.work[next].id), decision.work[next].tokens, plan);
    }
    if (!plan.work.empty()) return plan;
    if (decision.preempt.empty()) return std::nullopt;
  }
}

void Scheduler::Preempt(Model& model, SequenceId id) {
  const auto node = model.running.extract(id);
  Save(model, *node.mapped());
  ReleasePages(model, *node.mapped());
  model.waiting.emplace(id, node.mapped());
  --running_;
  ++preemptions_;
  turns_.emplace_back(id, Turn::kPreempted);
}

bool Scheduler::Admit(Model& model, SequenceId id, StepPlan& plan) {
  Sequence& sequence = *model.waiting.at(id);
  const Start start = FindStart(model, sequence);
  const auto idle =
      std::ranges::count_if(start.shared, [&](PageId page) { return model.pool.references(page) == 0; });
  const int32_t pages = PagesFor(sequence.known()) - static_cast<int32_t>(start.shared.size());
  if (pages + static_cast<int32_t>(idle) > Physical(model)) return false;

  sequence.pages = start.shared;
  for (PageId page : start.shared) model.pool.Retain(page);
  for (int32_t i = 0; i < pages; ++i) sequence.pages.push_back(TakePage(model, plan));
  if (start.copy >= 0) {
    plan.ops.push_back({.kind = SequenceOp::Kind::kCopyPage,
                        .from_page = start.copy,
                        .to_page = sequence.pages[start.shared.size()],
                        .from = sequence.lead,
                        .to = id,
                        .tokens = start.copied_tokens});
  }
  if (start.restored_tokens > 0) {
    const auto first = sequence.pages.begin();
    plan.ops.push_back({.kind = SequenceOp::Kind::kRestore,
                        .to = id,
                        .tokens = start.restored_tokens,
                        .pages = {first, first + PagesFor(start.restored_tokens)}});
    model.aside_used -= PagesFor(std::exchange(sequence.saved, 0));
    restored_tokens_ += static_cast<uint64_t>(start.restored_tokens);
  } else if (sequence.saved > 0) {  // the prefix cache has more
    Drop(model, sequence);
    plan.ops.push_back(model.aside.back());
  }
  sequence.computed = start.tokens();
  sequence.remembered = static_cast<int32_t>(start.shared.size());
  sequence.serial = start.serial;
  if (!start.from_lead && start.restored_tokens == 0)
    prefix_hit_tokens_ += static_cast<uint64_t>(start.tokens());
  if (!sequence.admitted_before) {
    sequence.cached_tokens =
        start.from_lead ? Find(sequence.lead)->cached_tokens : start.tokens() - start.restored_tokens;
  }
  turns_.emplace_back(id, std::exchange(sequence.admitted_before, true) ? Turn::kResumed : Turn::kAdmitted);
  model.running.insert(model.waiting.extract(id));
  ++running_;
  return true;
}

void Scheduler::Compute(Model& model, Sequence& sequence, int32_t tokens, StepPlan& plan) {
  tokens = std::min(tokens, sequence.remaining());
  const int32_t end = sequence.computed + tokens;
  while (static_cast<int32_t>(sequence.pages.size()) < PagesFor(end)) {
    sequence.pages.push_back(TakePage(model, plan));
  }
  SequenceStep& step = plan.work.emplace_back();
  step.sequence = sequence.id;
  step.start = sequence.computed;
  step.tokens.assign(sequence.tokens.begin() + sequence.computed, sequence.tokens.begin() + end);
  step.pages.assign(sequence.pages.begin(), sequence.pages.begin() + PagesFor(end));
  step.prompt_tokens = sequence.prompt_tokens;
  step.sample = end == sequence.known();
  if (step.sample) {
    step.sampling = sequence.sampling;
    const Sampling& s = sequence.sampling;
    if (s.repetition_penalty != 1 || s.presence_penalty != 0 || s.frequency_penalty != 0) {
      step.history = sequence.tokens;
    }
  }
  work_.push_back({.id = sequence.id, .tokens = tokens, .sample = step.sample});
}

void Scheduler::Abort() {
  // Who took one of these in the failed step ends, or goes on with what a copy put there.
  for (Model* model : Freeing()) {
    std::erase_if(model->to_zero, [&](PageId page) { return model->pool.references(page) > 0; });
  }
  // What was to be put aside is in no page any more.
  for (SequenceOp& op : stepping_->aside) {
    if (op.kind != SequenceOp::Kind::kSave) continue;
    // One that has ended since gave its room back then.
    if (const auto it = sequences_.find(op.from); it != sequences_.end())
      stepping_->aside_used -= PagesFor(std::exchange(it->second->sequence.saved, 0));
    op = {.kind = SequenceOp::Kind::kDrop, .from = op.from};
  }
  stepping_ = nullptr;
}

Status Scheduler::Commit(const StepResult& result) {
  size_t sampled = 0;
  for (const Work& work : work_) {
    if (!work.sample) continue;
    if (sampled == result.sampled.size() || result.sampled[sampled].sequence != work.id ||
        result.sampled[sampled].token < 0 || result.sampled[sampled].token >= stepping_->info.vocabulary) {
      return Fail(Code::kInternal, "the runner's result does not answer the step's plan (sequence {})",
                  work.id);
    }
    ++sampled;
  }
  if (sampled != result.sampled.size()) {
    return Fail(Code::kInternal, "the runner sampled {} tokens where {} were planned", result.sampled.size(),
                sampled);
  }
  sampled = 0;
  for (const Work& work : work_) {
    Sequence& sequence = sequences_.at(work.id)->sequence;
    sequence.computed += work.tokens;
    computed_tokens_ += static_cast<uint64_t>(work.tokens);
    Remember(*stepping_, sequence);
    if (!work.sample) continue;
    sequence.tokens.push_back(result.sampled[sampled++].token);
    if (sequence.credits > 0) --sequence.credits;
  }
  stepping_->served += result.chip_time;
  for (Model* model : Freeing()) model->to_zero.clear();
  stepping_->aside.clear();
  stepping_ = nullptr;
  return {};
}

void Scheduler::Remember(Model& model, Sequence& sequence) {
  while (sequence.serial != 0 && (sequence.remembered + 1) * kPageTokens <= sequence.computed) {
    const PageId page = sequence.pages[static_cast<size_t>(sequence.remembered)];
    const auto tokens = std::span(sequence.tokens)
                            .subspan(static_cast<size_t>(sequence.remembered) * kPageTokens, kPageTokens);
    const PrefixCache::Inserted inserted = model.cache.Insert(sequence.serial, tokens, page);
    if (inserted.remembered) model.pool.MarkCached(page);
    sequence.serial = inserted.serial;
    ++sequence.remembered;
  }
}

}  // namespace penstock
