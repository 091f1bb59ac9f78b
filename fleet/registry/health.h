// Health: what an engine may be trusted with, from what it does. Pure; the clock is told.
//
//   proving ──proved──▶ good ◀──successes── recovering
//      ▲                 │ troubles              ▲
//      └──time served── quarantined              └── proved, after a quarantine
//
// Trouble counts and fades with a half-life; too much of it within a short time, or one wrong answer, is
// quarantine, each longer than the last unless the engine did well in between (hysteresis). After a
// quarantine the engine gets one sequence, then twice as many for each success (slow return). An engine that
// merely went and came back proves itself and is good at once.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"

namespace penstock {

class Health {
 public:
  enum class State : uint8_t { kProving, kGood, kRecovering, kQuarantined };
  // A failed step or a broken promise; a lost connection; a step that never ended.
  static constexpr double kFault = 1, kDeath = 1, kHang = 2;

  void Connected(Nanos now);
  // It answered its canaries rightly.
  void Proved(Nanos now);
  void Trouble(Nanos now, double weight, std::string_view why);
  // It answers wrongly: worse than dead.
  void Wrong(Nanos now, std::string_view why);
  // One request done.
  void Success(Nanos now);
  // Time passes: a sentence that is served ends in proving.
  void Tick(Nanos now);

  State state() const { return state_; }
  bool trusted() const { return state_ == State::kGood || state_ == State::kRecovering; }
  // How many sequences it may run of `most`.
  uint32_t Limit(uint32_t most) const;
  // Of the quarantine, for people; empty otherwise.
  const std::string& why() const { return why_; }
  Nanos until() const { return until_; }

 private:
  void Fade(Nanos now);
  void Sentence(Nanos now, Nanos least, Nanos most, std::string_view why);

  State state_ = State::kProving;
  double score_ = 0;  // of troubles, faded
  Nanos faded_at_ = 0, good_since_ = 0;
  Nanos sentence_ = 0;  // the last one
  Nanos until_ = 0;
  uint32_t allowance_ = 1;  // while recovering
  bool returning_ = false;  // from a quarantine: slowly
  std::string why_;
};

std::string_view HealthWord(Health::State state);  // "proving", "good", "recovering", "quarantined"

}  // namespace penstock
