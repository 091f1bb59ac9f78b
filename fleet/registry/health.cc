#include "fleet/registry/health.h"

#include <algorithm>
#include <cmath>

namespace penstock {
namespace {

constexpr double kTooMuch = 3;
constexpr Nanos kHalfLife = 30 * kSecond;
constexpr Nanos kFirstSentence = 2 * kSecond, kWrongSentence = 10 * kSecond, kLongest = 30 * kSecond,
                kLongestWrong = 300 * kSecond;
constexpr Nanos kForgiven = 60 * kSecond;  // of doing well: the next sentence is half as long
constexpr uint32_t kRecovered = 64;

}  // namespace

std::string_view HealthWord(Health::State state) {
  switch (state) {
    case Health::State::kProving:
      return "proving";
    case Health::State::kGood:
      return "good";
    case Health::State::kRecovering:
      return "recovering";
    case Health::State::kQuarantined:
      return "quarantined";
  }
  return "";
}

void Health::Connected(Nanos now) {
  Tick(now);
  if (state_ != State::kQuarantined) state_ = State::kProving;
}

void Health::Proved(Nanos now) {
  if (state_ != State::kProving) return;
  state_ = returning_ ? State::kRecovering : State::kGood;
  good_since_ = now;
  allowance_ = 1;
}

void Health::Trouble(Nanos now, double weight, std::string_view why) {
  Fade(now);
  score_ += weight;
  if (score_ >= kTooMuch) Sentence(now, kFirstSentence, kLongest, why);
}

void Health::Wrong(Nanos now, std::string_view why) {
  Fade(now);
  Sentence(now, kWrongSentence, kLongestWrong, why);
}

void Health::Success(Nanos now) {
  if (state_ != State::kRecovering) return;
  allowance_ *= 2;
  if (allowance_ < kRecovered) return;
  state_ = State::kGood;
  good_since_ = now;
  returning_ = false;
}

void Health::Tick(Nanos now) {
  if (state_ != State::kQuarantined || now < until_) return;
  state_ = State::kProving;
  why_.clear();
}

uint32_t Health::Limit(uint32_t most) const {
  switch (state_) {
    case State::kGood:
      return most;
    case State::kRecovering:
      return std::min(most, allowance_);
    default:
      return 0;
  }
}

void Health::Fade(Nanos now) {
  score_ *= std::exp2(-static_cast<double>(now - faded_at_) / static_cast<double>(kHalfLife));
  faded_at_ = now;
}

void Health::Sentence(Nanos now, Nanos least, Nanos most, std::string_view why) {
  if (state_ == State::kQuarantined) return;
  const Nanos good = state_ == State::kGood ? now - good_since_ : 0;
  for (Nanos spell = kForgiven; spell <= good && sentence_ > 0; spell += kForgiven) sentence_ /= 2;
  sentence_ = std::clamp(2 * sentence_, least, most);
  state_ = State::kQuarantined;
  until_ = now + sentence_;
  returning_ = true;
  score_ = 0;
  why_ = why;
}

}  // namespace penstock
