// Assignment: what one job occupies on one engine. An engine's totals (Member::occupied) are the sum of the
// assignments to it; nothing else changes them.
#pragma once

#include <cstdint>

#include "fleet/registry/member.h"

namespace penstock {

class Assignment {
 public:
  Assignment() = default;
  Assignment(const Assignment&) = delete;
  Assignment& operator=(const Assignment&) = delete;

  Member* member() const { return member_; }  // null: it occupies nothing
  const Occupancy& amounts() const { return amounts_; }

  // REQUIRES: it occupies nothing.
  void Acquire(Member& member, const Occupancy& amounts);
  // All of it. Does nothing if it occupies nothing.
  void Release();

  // REQUIRES of the rest: it occupies something.
  void SequenceEnded();
  void PromptAdmitted();  // the engine's own reports count its pages from now on
  void PromptComputed(uint64_t tokens);
  void ContextGrew(uint64_t tokens);

 private:
  void Set(const Occupancy& amounts);

  Member* member_ = nullptr;
  Occupancy amounts_;
};

}  // namespace penstock
