// Cells as libllama keeps them, for tests of CellMap: each of one token at one position, belonging to some
// slots, forgotten with the last of them.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <vector>

#include "runner/cell_map.h"

namespace penstock::testing {

class Cells {
 public:
  void Do(const CellMap::Actions& actions) {
    for (const auto& action : actions) Do(action);
  }

  void Compute(int32_t slot, int32_t begin, const std::vector<Token>& tokens) {
    EXPECT_EQ(static_cast<int32_t>(Text(slot).size()), begin) << "positions are consecutive";
    for (const Token token : tokens) cells_.push_back({begin++, token, {slot}});
    computed_ += tokens.size();
  }

  // The tokens of a slot by position; a hole or a doubled position fails the test.
  std::vector<Token> Text(int32_t slot) const {
    std::multimap<int32_t, Token> text;
    for (const Cell& cell : cells_) {
      if (cell.slots.contains(slot)) text.emplace(cell.position, cell.token);
    }
    std::vector<Token> tokens;
    for (const auto& [position, token] : text) {
      EXPECT_EQ(position, static_cast<int32_t>(tokens.size())) << "in slot " << slot;
      tokens.push_back(token);
    }
    return tokens;
  }

  size_t size() const { return cells_.size(); }
  size_t computed() const { return computed_; }
  size_t restored() const { return restored_; }
  size_t aside() const { return aside_.size(); }  // sequences

 private:
  struct Cell {
    int32_t position = 0;
    Token token = 0;
    std::set<int32_t> slots = {};
  };

  void Do(const CellMap::Action& action) {
    using Kind = CellMap::Action::Kind;
    if (action.kind == Kind::kCompute) return Compute(action.slot, action.begin, action.tokens);
    if (action.kind == Kind::kSave) return void(aside_[action.sequence] = Text(action.slot));
    if (action.kind == Kind::kDrop) return void(aside_.erase(action.sequence));
    if (action.kind == Kind::kRestore) return Restore(action);
    for (Cell& cell : cells_) {
      if (cell.position < action.begin || (action.end >= 0 && cell.position >= action.end)) continue;
      if (action.kind == Kind::kRemove) cell.slots.erase(action.slot);
      if (action.kind == Kind::kCopy && cell.slots.contains(action.from)) cell.slots.insert(action.slot);
    }
    std::erase_if(cells_, [](const Cell& cell) { return cell.slots.empty(); });
  }

  void Restore(const CellMap::Action& action) {
    const auto kept = aside_.extract(action.sequence);
    EXPECT_TRUE(Text(action.slot).empty());
    if (kept.empty()) return Compute(action.slot, 0, action.tokens);
    EXPECT_EQ(kept.mapped(), action.tokens);
    int32_t position = 0;
    for (const Token token : kept.mapped()) cells_.push_back({position++, token, {action.slot}});
    restored_ += kept.mapped().size();
  }

  std::vector<Cell> cells_;
  std::map<SequenceId, std::vector<Token>> aside_;
  size_t computed_ = 0, restored_ = 0;
};

}  // namespace penstock::testing
