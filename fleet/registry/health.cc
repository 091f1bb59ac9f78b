#include "fleet/registry/health.h"

#include <algorithm>
#include <cmath>

namespace penstock {
namespace {

constexpr double kTooMuch = 3;
constexpr Nanos kHalfLife = 30 * kSecond;
constexpr Nanos kFirstTerm = 2 * kSecond, kWrongTerm = 10 * kSecond, kLongestTerm = 30 * kSecond,
                kLongestWrongTerm = 300 * kSecond;
constexpr Nanos kForgiven = 60 * kSecond;  // of doing well: the next quarantine is half as long
constexpr uint32_t kRecovered = 64;

}  // namespace

std::string_view HealthWord(Health::Standing standing) {
  switch (standing) {
    case Health::Standing::kProving:
      return "proving";
    case Health::Standing::kGood:
      return "good";
    case Health::Standing::kRecovering:
      return "recovering";
    case Health::Standing::kQuarantined:
      return "quarantined";
  }
  return "";
}

void Health::Connected(Nanos now) {
  Tick(now);
  if (standing_ != Standing::kQuarantined) standing_ = Standing::kProving;
}

void Health::Proved(Nanos now) {
  if (standing_ != Standing::kProving) return;
  standing_ = returning_ ? Standing::kRecovering : Standing::kGood;
  good_since_ = now;
  allowance_ = 1;
}

void Health::Trouble(Nanos now, double weight, std::string_view why) {
  Fade(now);
  score_ += weight;
  if (score_ >= kTooMuch) Quarantine(now, kFirstTerm, kLongestTerm, why);
}

void Health::Wrong(Nanos now, std::string_view why) {
  Fade(now);
  Quarantine(now, kWrongTerm, kLongestWrongTerm, why);
}

void Health::Success(Nanos now) {
  if (standing_ != Standing::kRecovering) return;
  allowance_ *= 2;
  if (allowance_ < kRecovered) return;
  standing_ = Standing::kGood;
  good_since_ = now;
  returning_ = false;
}

void Health::Tick(Nanos now) {
  if (standing_ != Standing::kQuarantined || now < until_) return;
  standing_ = Standing::kProving;
  why_.clear();
}

uint32_t Health::Limit(uint32_t most) const {
  switch (standing_) {
    case Standing::kGood:
      return most;
    case Standing::kRecovering:
      return std::min(most, allowance_);
    default:
      return 0;
  }
}

void Health::Fade(Nanos now) {
  score_ *= std::exp2(-static_cast<double>(now - faded_at_) / static_cast<double>(kHalfLife));
  faded_at_ = now;
}

void Health::Quarantine(Nanos now, Nanos least, Nanos most, std::string_view why) {
  if (standing_ == Standing::kQuarantined) return;
  const Nanos good = standing_ == Standing::kGood ? now - good_since_ : 0;
  for (Nanos well = kForgiven; well <= good && term_ > 0; well += kForgiven) term_ /= 2;
  term_ = std::clamp(2 * term_, least, most);
  standing_ = Standing::kQuarantined;
  until_ = now + term_;
  returning_ = true;
  score_ = 0;
  why_ = why;
}

}  // namespace penstock
