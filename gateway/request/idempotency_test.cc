#include "gateway/request/idempotency.h"

#include <gtest/gtest.h>

namespace penstock::gateway {
namespace {

TEST(Idempotency, RemembersByOwner) {
  IdempotencyKeys keys;
  keys.Remember(1, "k", "req_1", 0);
  ASSERT_NE(keys.Find(1, "k", 1), nullptr);
  EXPECT_EQ(*keys.Find(1, "k", 1), "req_1");
  EXPECT_EQ(keys.Find(2, "k", 1), nullptr);
  keys.Forget(1, "k");
  EXPECT_EQ(keys.Find(1, "k", 1), nullptr);
}

TEST(Idempotency, ForgetsTheOldAndTheMany) {
  IdempotencyKeys keys(2, 100);
  keys.Remember(1, "a", "1", 0);
  EXPECT_EQ(keys.Find(1, "a", 101), nullptr);
  for (const char* key : {"b", "c", "d"}) keys.Remember(1, key, key, 200);
  EXPECT_EQ(keys.Find(1, "b", 200), nullptr);
  EXPECT_NE(keys.Find(1, "d", 200), nullptr);
}

TEST(Idempotency, AKeySentAgainAfterItWasForgottenLivesItsOwnTime) {
  IdempotencyKeys keys(10, 100);
  keys.Remember(1, "a", "1", 0);
  keys.Forget(1, "a");
  keys.Remember(1, "a", "2", 90);
  EXPECT_NE(keys.Find(1, "a", 150), nullptr);
}

}  // namespace
}  // namespace penstock::gateway
