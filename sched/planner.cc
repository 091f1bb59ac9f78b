#include "sched/planner.h"

#include <algorithm>
#include <optional>

namespace penstock {
namespace {

class Step {
 public:
  Step(const PlanInput& input, const PlanLimits& limits)
      : input_(input),
        limits_(limits),
        available_(input.available_pages),
        alive_(input.running.size(), true) {
    for (const RunningView& view : input.running) {
      (view.starved ? starved_pages_ : active_) += view.starved ? view.held_pages : 1;
    }
  }

  PlanDecision Decide() {
    for (size_t i = 0; i < input_.running.size(); ++i) {
      if (Wants(i) && input_.running[i].remaining == 1 && FindPage(i)) Work(input_.running[i].id, 1);
    }
    // Decoding is never delayed. Prompts get at least a quarter of the budget; otherwise new sequences would
    // wait for the end of all streams when there are more streams than the budget has tokens.
    const auto decoding = static_cast<int32_t>(decision_.work.size());
    budget_ = std::max(limits_.step_tokens - decoding, std::max(1, limits_.step_tokens / 4));
    for (size_t i = 0; i < input_.running.size(); ++i) {
      if (Wants(i) && input_.running[i].remaining > 1)
        Chunk(input_.running[i].id, input_.running[i].remaining);
    }
    Admit();
    return std::move(decision_);
  }

 private:
  bool Wants(size_t i) const { return alive_[i] && !input_.running[i].starved; }

  void Work(SequenceId id, int32_t tokens) { decision_.work.push_back({.id = id, .tokens = tokens}); }

  void Chunk(SequenceId id, int32_t remaining) {
    const int32_t tokens = std::min(remaining, budget_);
    if (tokens == 0) return;
    budget_ -= tokens;
    Work(id, tokens);
  }

  void Preempt(size_t victim) {
    const RunningView& view = input_.running[victim];
    alive_[victim] = false;
    available_ += view.held_pages;
    (view.starved ? starved_pages_ : active_) -= view.starved ? view.held_pages : 1;
    decision_.preempt.push_back(input_.running[victim].id);
  }

  // The youngest sequence that waits for its reader.
  std::optional<size_t> Starved() const {
    for (size_t i = input_.running.size(); i-- > 0;) {
      if (alive_[i] && input_.running[i].starved) return i;
    }
    return std::nullopt;
  }

  // The sequence to preempt for `i`: a starved one, otherwise the youngest that is not older. It can be `i`
  // itself.
  size_t Victim(size_t i) const {
    if (const auto starved = Starved()) return *starved;
    size_t youngest = input_.running.size() - 1;
    while (youngest > i && !alive_[youngest]) --youngest;
    return youngest;
  }

  // Takes the page that `i` needs, if it needs one. False if there is none for it in this step.
  bool FindPage(size_t i) {
    if (!input_.running[i].needs_page) return true;
    while (available_ < 1) {
      const size_t victim = Victim(i);
      // Pages that victims share are counted for none of them, but become free with the last victim: check
      // again at the next step before preempting `i` itself.
      if (victim != i || decision_.preempt.empty()) Preempt(victim);
      if (victim == i) return false;
    }
    --available_;
    return true;
  }

  // Pages that admission must not take: one page of growth for each running sequence. Otherwise a new
  // sequence would cause a preemption at once.
  int32_t Watermark() const { return active_ + static_cast<int32_t>(decision_.admit.size()); }

  // Preempts sequences that wait for their readers to make room for new sequences, if that is enough, or if
  // no other sequence will ever free pages.
  void ReclaimPages(int32_t needed) {
    if (active_ > 0 && available_ + starved_pages_ < needed) return;
    while (available_ < needed && PreemptStarved()) {
    }
  }

  bool PreemptStarved() {
    const auto victim = Starved();
    if (victim) Preempt(*victim);
    return victim.has_value();
  }

  void Admit() {
    // A sequence that was just preempted must not return in the same step, and no other may take its place.
    if (!decision_.preempt.empty()) return;
    int32_t slots = limits_.free_slots;
    for (const WaitingView& waiting : input_.waiting) {
      if (budget_ == 0) return;
      if (slots == 0 && PreemptStarved()) ++slots;
      const int32_t needed = waiting.pages_needed + Watermark();
      if (available_ < needed) ReclaimPages(needed);
      if (slots == 0 || available_ < needed) return;
      --slots;
      available_ -= waiting.pages_needed;
      decision_.admit.push_back(waiting.id);
      Chunk(waiting.id, waiting.remaining);
    }
  }

  const PlanInput& input_;
  const PlanLimits& limits_;
  int32_t available_;
  int32_t active_ = 0;         // running and not starved
  int32_t starved_pages_ = 0;  // pages that preempting all starved sequences would free
  int32_t budget_ = 0;
  std::vector<char> alive_;
  PlanDecision decision_;
};

}  // namespace

PlanDecision DecideStep(const PlanInput& input, const PlanLimits& limits) {
  return Step(input, limits).Decide();
}

}  // namespace penstock
