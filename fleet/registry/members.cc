#include "fleet/registry/members.h"

#include "base/check.h"

namespace penstock {

Member& Members::Add(EngineKey key) {
  Member& member = *members_.emplace_back(std::make_unique<Member>(key, touched_));
  member.index = members_.size() - 1;
  const bool added = by_key_.emplace(key, &member).second;
  PENSTOCK_CHECK(added);
  for (auto& [model, row] : rows_) row.resize(members_.size());
  return member;
}

Member* Members::Find(EngineKey key) const {
  const auto found = by_key_.find(key);
  return found == by_key_.end() ? nullptr : found->second;
}

void Members::AddModel(const std::string& model) {
  rows_.try_emplace(model, members_.size());
  for (const auto& member : members_) member->Touch();
}

void Members::RemoveModel(const std::string& model) {
  rows_.erase(model);
}

std::span<const Candidate> Members::Candidates(std::string_view model) {
  Refresh();
  const auto row = rows_.find(model);
  PENSTOCK_CHECK(row != rows_.end());
  return row->second;
}

// After some were removed.
void Members::Renumber() {
  by_key_.clear();
  touched_.clear();
  any_external_ = false;
  for (size_t i = 0; i < members_.size(); ++i) {
    Member& member = *members_[i];
    member.index = i;
    by_key_.emplace(member.key, &member);
    member.is_touched_ = false;
    member.Touch();
  }
  for (auto& [model, row] : rows_) row.resize(members_.size());
}

void Members::Refresh() {
  for (Member* member : touched_) {
    for (auto& [model, row] : rows_) row[member->index] = member->CandidateFor(model);
    any_external_ |= member->hello.external();
    member->is_touched_ = false;
  }
  touched_.clear();
}

Status Members::CheckIntegrity() {
  Refresh();
  for (const auto& [model, row] : rows_) {
    if (row.size() != members_.size())
      return Fail(Code::kInternal, "model {} has {} candidates for {} engines", model, row.size(),
                  members_.size());
    for (const auto& member : members_) {
      if (row[member->index] != member->CandidateFor(model))
        return Fail(Code::kInternal, "engine {} as a candidate for {} is out of date", member->name(), model);
    }
  }
  return {};
}

}  // namespace penstock
