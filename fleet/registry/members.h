// Members: the engines of the fleet, and each of them as a candidate for each served model.
//
// Placing asks for all candidates of a model at once, for every job; between two jobs few engines change. So
// a row of candidates is kept for each model, and only engines that were touched (Member::Touch) are entered
// anew.
//
// Pure. Threads: one.
#pragma once

#include <algorithm>
#include <boost/unordered/unordered_flat_map.hpp>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "fleet/placement/placement.h"
#include "fleet/registry/member.h"

namespace penstock {

class Members {
 public:
  // REQUIRES: the key was never used.
  Member& Add(EngineKey key);
  template <class Predicate>
  void RemoveIf(Predicate predicate) {
    if (std::erase_if(members_, [&](const auto& member) { return predicate(*member); }) > 0) Renumber();
  }
  Member* Find(EngineKey key) const;

  // Models of which candidates are kept.
  void AddModel(const std::string& model);
  void RemoveModel(const std::string& model);
  // One for each member, in their order; valid until a member or a model changes. REQUIRES: added.
  std::span<const Candidate> Candidates(std::string_view model);
  // Some engine may be outside the organisation. False: none of the last candidates is.
  bool any_external() const { return any_external_; }

  auto begin() const { return members_.begin(); }
  auto end() const { return members_.end(); }
  size_t size() const { return members_.size(); }

  // kInternal names a candidate that is not what its engine is.
  Status CheckIntegrity();

 private:
  void Renumber();
  void Refresh();

  std::vector<std::unique_ptr<Member>> members_;
  boost::unordered_flat_map<EngineKey, Member*> by_key_;
  std::map<std::string, std::vector<Candidate>, std::less<>> rows_;
  std::vector<Member*> touched_;
  bool any_external_ = false;
};

}  // namespace penstock
