// CellMap: the planner's pages, kept in a library that keeps sequences instead (libllama).
//
// The planner thinks in pages: a page holds kPageTokens tokens that stand at one place of a text, and any
// sequence whose text begins so may be given it. Such a library knows cells: each holds one token's keys and
// values at one position and belongs to one or several of its own numbered sequences, here called slots. It
// forgets a cell when its last slot does.
//
//   page P, the i-th of its text  =  the cells at positions [16 i, 16 i + 16) of every slot that lists P
//
// - A sequence gets a slot when it is first planned. What its pages hold already is given to the slot from
//   any other that lists the same page: that costs no memory and computes nothing. So are forks' last, partly
//   filled pages: no cell is copied, both texts go on from the shared one.
// - Nobody says that a sequence has ended or was preempted. Its slot stays, kept for its pages, which the
//   planner may find again; each time the planner zeroes a page for a new owner, every slot forgets its
//   cells. So all slots together never hold more cells than the planner has pages.
// - There are fewer slots than texts to remember. When one is needed, the one least recently used is emptied,
//   first such whose pages others list too. The planner does not know; so the tokens of each page are kept
//   here, and what a sequence finds lost is computed again before its step.
// - A paused sequence's text is kept here while its keys and values are put aside, so that it can be computed
//   again should they not come back.
// - Where a slot's beginning cannot be given to another, nor a slot be cut (`shares` = false: models with a
//   running state, LoadedModel::shares_pages), the same way computes it again.
//
// Threads:   one. Knows nothing of the library: it says what is to be done as a list of actions.
// Invariant: the cells of one page are the same ones in all slots that list it (CheckIntegrity()).
#pragma once

#include <array>
#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/tokens.h"
#include "runner/step.h"

namespace penstock {

class CellMap {
 public:
  struct Action {
    enum class Kind : uint8_t {
      kCopy,     // `slot` gets the cells of `from` at [begin, end)
      kRemove,   // `slot` loses its cells at [begin, end); end < 0: to the last
      kCompute,  // `tokens` are computed at [begin, end) of `slot`
      kSave,     // what `slot` holds is put aside for `sequence`
      kRestore,  // `slot`, which is empty, gets it back, or computes `tokens`; nothing stays aside
      kDrop,     // what is aside for `sequence`, if anything, goes
    };
    Kind kind = Kind::kCopy;
    int32_t slot = -1, from = -1;
    int32_t begin = 0, end = -1;
    std::vector<Token> tokens = {};
    SequenceId sequence = 0;
  };
  using Actions = std::vector<Action>;

  CellMap(int32_t pages, int32_t slots, bool shares = true);

  // What must be done, in order, before `plan`'s work is computed: its page operations, and for each sequence
  // a slot that holds all tokens before its step. Appends to `actions`; returns the slots, by work item.
  // Errors: kInternal: the plan names a page that does not exist, or tokens that were never computed, or more
  // sequences than there are slots.
  Result<std::vector<int32_t>> Prepare(const StepPlan& plan, Actions& actions);
  // The plan's work is computed: its pages hold it.
  void Computed(const StepPlan& plan);
  // Something failed on the way: all that the plan touched is unknown and forgotten.
  void Failed(const StepPlan& plan, Actions& actions);

  // The slot that holds the first `tokens` tokens of a sequence and no more, or -1.
  int32_t SlotOf(SequenceId sequence, int32_t tokens) const;
  // As a plan's kSave, of a text that another engine computed: the caller has put its state aside.
  void PutAside(SequenceId sequence, std::vector<Token> text) { aside_[sequence] = std::move(text); }

  uint64_t recomputed() const { return recomputed_; }  // lost tokens computed again, since start

  // Walks everything; aborts on a slot and a page that contradict each other. For tests.
  void CheckIntegrity() const;

 private:
  struct Page {
    std::array<Token, kPageTokens> tokens{};
    int32_t count = 0;           // of `tokens`
    std::vector<int32_t> slots;  // that list it
  };
  static constexpr SequenceId kNobody = UINT64_MAX;
  struct Slot {
    SequenceId owner = kNobody;  // nobody: free, or kept for its pages
    std::vector<PageId> pages;   // by place in the text; -1: given away
    int32_t length = 0;          // positions below it are held, but for pages given away
    uint64_t used = 0;           // the last plan that needed it
    bool planned = false;        // by the plan under way
  };
  bool InRange(PageId page) const { return page >= 0 && page < static_cast<PageId>(pages_.size()); }
  Page& At(PageId page) { return pages_[static_cast<size_t>(page)]; }
  Slot& SlotAt(int32_t slot) { return slots_[static_cast<size_t>(slot)]; }

  Status Check(const StepPlan& plan) const;
  void Zero(PageId page, Actions& actions);
  void Save(const SequenceOp& op, Actions& actions);
  Status Restore(const SequenceOp& op, Actions& actions);
  Result<int32_t> Place(const SequenceStep& step, Actions& actions);
  bool Continues(const Slot& slot, const SequenceStep& step) const;
  Status Fill(int32_t slot, const SequenceStep& step, Actions& actions);
  // A slot that lists `page` with its first `tokens` tokens, or -1.
  int32_t Holder(PageId page, int32_t place, int32_t tokens) const;
  int32_t TakeSlot(Actions& actions);
  bool Redundant(const Slot& slot) const;
  void List(int32_t slot, size_t place, PageId page);
  void Unlist(int32_t slot, size_t place);
  void Cut(int32_t slot, int32_t tokens, Actions& actions);
  void Disown(int32_t slot);

  const bool shares_;
  std::vector<Page> pages_;
  std::vector<Slot> slots_;
  std::unordered_map<SequenceId, int32_t> by_sequence_;
  std::unordered_map<SequenceId, std::vector<Token>> aside_;
  std::unordered_map<PageId, PageId> copies_;  // in the plan under way: page → the page it begins as
  uint64_t plans_ = 0, recomputed_ = 0;
};

}  // namespace penstock
