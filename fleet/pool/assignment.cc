#include "fleet/pool/assignment.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace penstock {

void Assignment::Acquire(Member& member, const Occupancy& amounts) {
  PENSTOCK_CHECK(member_ == nullptr);
  member_ = &member;
  Set(amounts);
}

void Assignment::Release() {
  if (member_ == nullptr) return;
  Set({});
  member_ = nullptr;
}

void Assignment::SequenceEnded() {
  Occupancy less = amounts_;
  PENSTOCK_CHECK(less.sequences > 0);
  --less.sequences;
  Set(less);
}

void Assignment::PromptAdmitted() {
  Occupancy less = amounts_;
  less.pages = 0;
  Set(less);
}

void Assignment::PromptComputed(uint64_t tokens) {
  Occupancy less = amounts_;
  less.prefill -= std::min(less.prefill, tokens);
  Set(less);
}

void Assignment::ContextGrew(uint64_t tokens) {
  Occupancy more = amounts_;
  more.context += tokens;
  Set(more);
}

void Assignment::Set(const Occupancy& amounts) {
  PENSTOCK_CHECK(member_ != nullptr);
  member_->occupied_ -= std::exchange(amounts_, amounts);
  member_->occupied_ += amounts_;
  member_->Touch();
}

}  // namespace penstock
