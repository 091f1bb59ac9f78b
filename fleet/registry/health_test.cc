#include "fleet/registry/health.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

using enum Health::Standing;

Health Good(Nanos now = 0) {
  Health health;
  health.Connected(now);
  health.Proved(now);
  return health;
}

TEST(Health, AnEngineProvesItselfBeforeItIsTrusted) {
  Health health;
  EXPECT_EQ(health.standing(), kProving);
  EXPECT_EQ(health.Limit(64), 0u);
  health.Connected(0);
  EXPECT_FALSE(health.serves());
  health.Proved(0);
  EXPECT_EQ(health.standing(), kGood);
  EXPECT_EQ(health.Limit(64), 64u);
}

TEST(Health, OneDeathIsForgivenOnceItHasProvedItselfAgain) {
  Health health = Good();
  health.Trouble(kSecond, Health::kDeath, "killed");
  health.Connected(2 * kSecond);
  EXPECT_EQ(health.standing(), kProving);
  health.Proved(2 * kSecond);
  EXPECT_EQ(health.Limit(64), 64u);
}

TEST(Health, MuchTroubleAtOnceIsQuarantineAndLittleOverTimeIsNot) {
  Health health = Good();
  for (int i = 0; i < 20; ++i) health.Trouble(i * 60 * kSecond, Health::kFault, "a step failed");
  EXPECT_EQ(health.standing(), kGood);
  for (int i = 0; i < 3; ++i) health.Trouble(1200 * kSecond, Health::kFault, "a step failed");
  EXPECT_EQ(health.standing(), kQuarantined);
  EXPECT_EQ(health.why(), "a step failed");
  EXPECT_EQ(health.Limit(64), 0u);
}

TEST(Health, AWrongAnswerIsQuarantineAtOnce) {
  Health health = Good();
  health.Wrong(0, "it answers 2 + 2 with 5");
  EXPECT_EQ(health.standing(), kQuarantined);
  health.Connected(kSecond);
  EXPECT_EQ(health.standing(), kQuarantined) << "coming back does not end it";
  health.Tick(9 * kSecond);
  EXPECT_EQ(health.standing(), kQuarantined);
  health.Tick(10 * kSecond);
  EXPECT_EQ(health.standing(), kProving);
}

TEST(Health, ComesBackSlowly) {
  Health health = Good();
  health.Wrong(0, "wrong");
  health.Tick(20 * kSecond);
  health.Proved(20 * kSecond);
  for (const uint32_t allowed : {1u, 2u, 4u, 8u, 16u, 32u, 64u}) {
    EXPECT_EQ(health.Limit(64), allowed);
    health.Success(21 * kSecond);
  }
  EXPECT_EQ(health.standing(), kGood);
}

TEST(Health, EachQuarantineIsLongerUnlessItDidWellInBetween) {
  Health health;
  Nanos now = 0, last = 0;
  for (int i = 0; i < 4; ++i) {
    health.Connected(now);
    health.Proved(now);
    health.Wrong(now, "wrong");
    EXPECT_GT(health.until() - now, last);
    last = health.until() - now;
    now = health.until();
    health.Tick(now);
  }
  health.Proved(now);
  for (int i = 0; i < 10; ++i) health.Success(now);
  now += 600 * kSecond;
  health.Wrong(now, "wrong");
  EXPECT_EQ(health.until() - now, 10 * kSecond);
  for (int i = 0; i < 40; ++i) {
    now = health.until();
    health.Tick(now);
    health.Proved(now);
    health.Wrong(now, "wrong");
  }
  EXPECT_EQ(health.until() - now, 300 * kSecond) << "it always gets another chance";
}

}  // namespace
}  // namespace penstock
