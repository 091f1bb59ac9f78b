// Health: how much work an engine may get, judged by what it does. Pure; time is passed in.
//
//   proving ──proved──▶ good ◀──successes── recovering
//      ▲                 │ troubles              ▲
//      └──time is up── quarantined              └── proved, after a quarantine
//
// Each trouble adds to a score that fades with a half-life. Too high a score, or one wrong answer, means
// quarantine; each is longer than the last unless the engine did well in between (hysteresis). After a
// quarantine the engine gets one sequence, then twice as many for each success (slow return). An engine that
// only disconnected and came back proves itself and is good at once.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"

namespace penstock {

class Health {
 public:
  enum class Standing : uint8_t { kProving, kGood, kRecovering, kQuarantined };
  // A failed step or a broken promise; a lost connection; a step that never ended.
  static constexpr double kFault = 1, kDeath = 1, kHang = 2;

  void Connected(Nanos now);
  // It answered its canaries rightly.
  void Proved(Nanos now);
  void Trouble(Nanos now, double weight, std::string_view why);
  // It answered a canary wrongly: quarantine at once.
  void Wrong(Nanos now, std::string_view why);
  // One request done.
  void Success(Nanos now);
  // Time passes: when its quarantine is over, it is to prove itself.
  void Tick(Nanos now);

  Standing standing() const { return standing_; }
  bool serves() const { return standing_ == Standing::kGood || standing_ == Standing::kRecovering; }
  // How many sequences it may run of `most`.
  uint32_t Limit(uint32_t most) const;
  // Reason for the quarantine, for people; empty if it is in none.
  const std::string& why() const { return why_; }
  Nanos until() const { return until_; }

 private:
  void Fade(Nanos now);
  void Quarantine(Nanos now, Nanos least, Nanos most, std::string_view why);

  Standing standing_ = Standing::kProving;
  double score_ = 0;  // sum of troubles, faded
  Nanos faded_at_ = 0, good_since_ = 0;
  Nanos term_ = 0;  // of the last quarantine
  Nanos until_ = 0;
  uint32_t allowance_ = 1;  // while recovering
  bool returning_ = false;  // from a quarantine: slowly
  std::string why_;
};

std::string_view HealthWord(Health::Standing standing);  // "proving", "good", "recovering", "quarantined"

}  // namespace penstock
