#include "runner/cell_map.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace penstock {
namespace {

using Kind = CellMap::Action::Kind;

// Appends, or lengthens the last action where it goes on.
void Push(CellMap::Actions& actions, CellMap::Action action) {
  if (!actions.empty()) {
    CellMap::Action& last = actions.back();
    if (last.kind == action.kind && action.kind != Kind::kRemove && last.slot == action.slot &&
        last.from == action.from && last.end == action.begin) {
      last.end = action.end;
      last.tokens.insert(last.tokens.end(), action.tokens.begin(), action.tokens.end());
      return;
    }
  }
  actions.push_back(std::move(action));
}

// Tokens of the text's `place`-th page among its first `tokens`.
int32_t TokensIn(int32_t place, int32_t tokens) {
  return std::clamp(tokens - place * kPageTokens, 0, kPageTokens);
}

}  // namespace

CellMap::CellMap(int32_t pages, int32_t slots, bool shares)
    : shares_(shares), pages_(static_cast<size_t>(pages)), slots_(static_cast<size_t>(slots)) {}

Status CellMap::Check(const StepPlan& plan) const {
  if (plan.work.size() > slots_.size()) {
    return Fail(Code::kInternal, "a step of {} sequences; at most {} are kept", plan.work.size(),
                slots_.size());
  }
  for (const SequenceOp& op : plan.ops) {
    const bool copies = op.kind == SequenceOp::Kind::kCopyPage,
               zeroes = op.kind == SequenceOp::Kind::kZeroPage;
    if (((copies || zeroes) && !InRange(op.to_page)) || (copies && !InRange(op.from_page)) ||
        !std::ranges::all_of(op.pages, [&](PageId page) { return InRange(page); })) {
      return Fail(Code::kInternal, "the plan names page {} or {}, or others, of {}", op.from_page, op.to_page,
                  pages_.size());
    }
    const bool aside = op.kind == SequenceOp::Kind::kSave || op.kind == SequenceOp::Kind::kRestore;
    if (aside && static_cast<int32_t>(op.pages.size()) != PagesFor(op.tokens)) {
      return Fail(Code::kInternal, "{} tokens to put aside or back do not fit {} pages", op.tokens,
                  op.pages.size());
    }
  }
  for (const SequenceStep& step : plan.work) {
    const int64_t end = int64_t{step.start} + static_cast<int64_t>(step.tokens.size());
    if (step.tokens.empty() || step.start < 0 || end > INT32_MAX ||
        static_cast<int64_t>(step.pages.size()) < PagesFor(static_cast<int32_t>(end)) ||
        !std::ranges::all_of(step.pages, [&](PageId page) { return InRange(page); })) {
      return Fail(Code::kInternal, "sequence {}: {} tokens from {} do not fit its {} pages", step.sequence,
                  step.tokens.size(), step.start, step.pages.size());
    }
  }
  return {};
}

Result<std::vector<int32_t>> CellMap::Prepare(const StepPlan& plan, Actions& actions) {
  PENSTOCK_TRY(Check(plan));
  ++plans_;
  copies_.clear();
  for (Slot& slot : slots_) slot.planned = false;
  for (const SequenceStep& step : plan.work) {
    if (const auto it = by_sequence_.find(step.sequence); it != by_sequence_.end())
      SlotAt(it->second).planned = true;
  }
  for (const SequenceOp& op : plan.ops) {
    switch (op.kind) {
      case SequenceOp::Kind::kZeroPage:
        Zero(op.to_page, actions);
        break;
      case SequenceOp::Kind::kCopyPage:
        At(op.to_page).tokens = At(op.from_page).tokens;
        At(op.to_page).count = std::min(op.tokens, At(op.from_page).count);
        copies_[op.to_page] = op.from_page;
        break;
      case SequenceOp::Kind::kSave:
        Save(op, actions);
        break;
      case SequenceOp::Kind::kRestore:
        PENSTOCK_TRY(Restore(op, actions));
        break;
      case SequenceOp::Kind::kDrop:
        aside_.erase(op.from);
        Push(actions, {.kind = Kind::kDrop, .sequence = op.from});
        break;
    }
  }
  std::vector<int32_t> slots;
  for (const SequenceStep& step : plan.work) {
    PENSTOCK_ASSIGN(const int32_t slot, Place(step, actions));
    slots.push_back(slot);
  }
  return slots;
}

void CellMap::Zero(PageId page, Actions& actions) {
  const std::vector<int32_t> listing = At(page).slots;
  for (const int32_t index : listing) {
    Slot& slot = SlotAt(index);
    Disown(index);
    if (!shares_) {  // a running state cannot lose a part
      Cut(index, 0, actions);
      continue;
    }
    const auto place = static_cast<size_t>(std::ranges::find(slot.pages, page) - slot.pages.begin());
    const int32_t begin = static_cast<int32_t>(place) * kPageTokens;
    Push(actions, {.kind = Kind::kRemove, .slot = index, .begin = begin, .end = begin + kPageTokens});
    Unlist(index, place);
    while (!slot.pages.empty() && slot.pages.back() < 0) slot.pages.pop_back();
    slot.length = std::min(slot.length, static_cast<int32_t>(slot.pages.size()) * kPageTokens);
  }
  At(page).count = 0;
}

// Its text is what its pages hold; its slot may be lost already.
void CellMap::Save(const SequenceOp& op, Actions& actions) {
  std::vector<Token>& text = aside_[op.from];
  text.clear();
  for (int32_t at = 0; at < op.tokens; ++at) {
    text.push_back(
        At(op.pages[static_cast<size_t>(at / kPageTokens)]).tokens[static_cast<size_t>(at % kPageTokens)]);
  }
  const int32_t slot = SlotOf(op.from, op.tokens);
  if (slot >= 0) Push(actions, {.kind = Kind::kSave, .slot = slot, .sequence = op.from});
}

int32_t CellMap::SlotOf(SequenceId sequence, int32_t tokens) const {
  const auto it = by_sequence_.find(sequence);
  const bool holds = it != by_sequence_.end() && slots_[static_cast<size_t>(it->second)].length == tokens;
  return holds ? it->second : -1;
}

Status CellMap::Restore(const SequenceOp& op, Actions& actions) {
  auto text = aside_.extract(op.to);
  if (text.empty() || static_cast<int32_t>(text.mapped().size()) != op.tokens) {
    return Fail(Code::kInternal, "nothing is kept of {} tokens of sequence {}", op.tokens, op.to);
  }
  if (const auto it = by_sequence_.find(op.to); it != by_sequence_.end()) Disown(it->second);
  const int32_t index = TakeSlot(actions);
  SlotAt(index).owner = op.to;
  by_sequence_[op.to] = index;
  for (int32_t at = 0; at < op.tokens; ++at) {
    const int32_t place = at / kPageTokens, in_page = at % kPageTokens;
    const PageId page = op.pages[static_cast<size_t>(place)];
    List(index, static_cast<size_t>(place), page);
    At(page).tokens[static_cast<size_t>(in_page)] = text.mapped()[static_cast<size_t>(at)];
    At(page).count = in_page + 1;
  }
  SlotAt(index).length = op.tokens;
  Push(actions, {.kind = Kind::kRestore,
                 .slot = index,
                 .begin = 0,
                 .end = op.tokens,
                 .tokens = std::move(text.mapped()),
                 .sequence = op.to});
  return {};
}

Result<int32_t> CellMap::Place(const SequenceStep& step, Actions& actions) {
  if (const auto it = by_sequence_.find(step.sequence); it != by_sequence_.end()) {
    const int32_t index = it->second;
    if (Continues(SlotAt(index), step)) {
      if (SlotAt(index).length > step.start) Cut(index, step.start, actions);
      SlotAt(index).used = plans_;
      return index;
    }
    Disown(index);
  }
  const int32_t index = TakeSlot(actions);
  SlotAt(index).owner = step.sequence;
  by_sequence_[step.sequence] = index;
  PENSTOCK_TRY(Fill(index, step, actions));
  return index;
}

// Whether `slot` holds, perhaps among more, what `step` goes on from.
bool CellMap::Continues(const Slot& slot, const SequenceStep& step) const {
  const auto pages = static_cast<size_t>(PagesFor(step.start));
  return (shares_ ? slot.length >= step.start : slot.length == step.start) && slot.pages.size() >= pages &&
         std::equal(slot.pages.begin(), slot.pages.begin() + static_cast<ptrdiff_t>(pages),
                    step.pages.begin());
}

Status CellMap::Fill(int32_t index, const SequenceStep& step, Actions& actions) {
  const int32_t pages = PagesFor(step.start);
  for (int32_t place = 0; place < pages; ++place) {
    const PageId page = step.pages[static_cast<size_t>(place)];
    const int32_t tokens = TokensIn(place, step.start), begin = place * kPageTokens;
    int32_t from = Holder(page, place, tokens);
    if (const auto it = copies_.find(page); from < 0 && it != copies_.end())
      from = Holder(it->second, place, tokens);
    if (from >= 0) {
      SlotAt(from).used = plans_;
      Push(actions,
           {.kind = Kind::kCopy, .slot = index, .from = from, .begin = begin, .end = begin + tokens});
    } else if (At(page).count >= tokens) {
      const auto first = At(page).tokens.begin();
      recomputed_ += static_cast<uint64_t>(tokens);
      Push(actions, {.kind = Kind::kCompute,
                     .slot = index,
                     .begin = begin,
                     .end = begin + tokens,
                     .tokens = {first, first + tokens}});
    } else {
      return Fail(Code::kInternal,
                  "sequence {} goes on from token {}, but page {} holds {} of the {} before it",
                  step.sequence, step.start, page, At(page).count, tokens);
    }
    List(index, static_cast<size_t>(place), page);
    SlotAt(index).length = begin + tokens;
  }
  return {};
}

int32_t CellMap::Holder(PageId page, int32_t place, int32_t tokens) const {
  if (!shares_) return -1;
  for (const int32_t index : pages_[static_cast<size_t>(page)].slots) {
    const Slot& slot = slots_[static_cast<size_t>(index)];
    if (slot.pages.size() > static_cast<size_t>(place) && slot.pages[static_cast<size_t>(place)] == page &&
        TokensIn(place, slot.length) >= tokens) {
      return index;
    }
  }
  return -1;
}

// Whether all that it holds is held elsewhere, too.
bool CellMap::Redundant(const Slot& slot) const {
  return std::ranges::all_of(slot.pages, [&](PageId page) {
    return page < 0 || pages_[static_cast<size_t>(page)].slots.size() > 1;
  });
}

// An empty slot: a free one, or else one emptied.
int32_t CellMap::TakeSlot(Actions& actions) {
  int32_t best = -1;
  bool best_redundant = false;
  for (int32_t i = 0; i < static_cast<int32_t>(slots_.size()); ++i) {
    const Slot& slot = SlotAt(i);
    if (slot.planned) continue;
    if (slot.pages.empty()) {
      best = i;
      break;
    }
    const bool redundant = Redundant(slot);
    if (best < 0 || (redundant && !best_redundant) ||
        (redundant == best_redundant && slot.used < SlotAt(best).used)) {
      best = i;
      best_redundant = redundant;
    }
  }
  PENSTOCK_CHECK(best >= 0);
  Disown(best);
  if (!SlotAt(best).pages.empty()) Cut(best, 0, actions);
  SlotAt(best).planned = true;
  SlotAt(best).used = plans_;
  return best;
}

void CellMap::List(int32_t slot, size_t place, PageId page) {
  std::vector<PageId>& pages = SlotAt(slot).pages;
  if (pages.size() > place && pages[place] == page) return;
  PENSTOCK_CHECK(pages.size() == place);
  pages.push_back(page);
  At(page).slots.push_back(slot);
}

void CellMap::Unlist(int32_t slot, size_t place) {
  const PageId page = std::exchange(SlotAt(slot).pages[place], -1);
  if (page >= 0) std::erase(At(page).slots, slot);
}

// Only the first `tokens` tokens stay.
void CellMap::Cut(int32_t index, int32_t tokens, Actions& actions) {
  Slot& slot = SlotAt(index);
  Push(actions, {.kind = Kind::kRemove, .slot = index, .begin = tokens});
  while (static_cast<int32_t>(slot.pages.size()) > PagesFor(tokens)) {
    Unlist(index, slot.pages.size() - 1);
    slot.pages.pop_back();
  }
  slot.length = tokens;
}

void CellMap::Disown(int32_t slot) {
  if (const SequenceId owner = std::exchange(SlotAt(slot).owner, kNobody); owner != kNobody)
    by_sequence_.erase(owner);
}

void CellMap::Computed(const StepPlan& plan) {
  for (const SequenceStep& step : plan.work) {
    const int32_t index = by_sequence_.at(step.sequence);
    int32_t position = step.start;
    for (const Token token : step.tokens) {
      const int32_t place = position / kPageTokens, in_page = position % kPageTokens;
      const PageId page = step.pages[static_cast<size_t>(place)];
      List(index, static_cast<size_t>(place), page);
      At(page).tokens[static_cast<size_t>(in_page)] = token;
      At(page).count = in_page + 1;
      ++position;
    }
    SlotAt(index).length = position;
  }
}

void CellMap::Failed(const StepPlan& plan, Actions& actions) {
  for (const SequenceOp& op : plan.ops) {
    if (op.kind != SequenceOp::Kind::kRestore) continue;
    aside_.erase(op.to);
    Push(actions, {.kind = Kind::kDrop, .sequence = op.to});
  }
  for (const SequenceStep& step : plan.work) {
    const auto it = by_sequence_.find(step.sequence);
    if (it == by_sequence_.end()) continue;
    const int32_t index = it->second;
    Disown(index);
    Cut(index, 0, actions);
  }
}

void CellMap::CheckIntegrity() const {
  for (size_t i = 0; i < slots_.size(); ++i) {
    const Slot& slot = slots_[i];
    PENSTOCK_CHECK(PagesFor(slot.length) == static_cast<int32_t>(slot.pages.size()));
    PENSTOCK_CHECK(slot.owner == kNobody || by_sequence_.at(slot.owner) == static_cast<int32_t>(i));
    PENSTOCK_CHECK(slot.owner == kNobody || std::ranges::find(slot.pages, -1) == slot.pages.end());
    for (const PageId page : slot.pages) {
      if (page < 0) continue;
      const auto& listing = pages_[static_cast<size_t>(page)].slots;
      PENSTOCK_CHECK(std::ranges::count(listing, static_cast<int32_t>(i)) == 1);
    }
  }
  for (size_t page = 0; page < pages_.size(); ++page) {
    for (const int32_t slot : pages_[page].slots) {
      PENSTOCK_CHECK(std::ranges::count(slots_[static_cast<size_t>(slot)].pages, static_cast<PageId>(page)) ==
                     1);
    }
  }
}

}  // namespace penstock
