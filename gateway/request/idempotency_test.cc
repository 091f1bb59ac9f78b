#include "gateway/request/idempotency.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace penstock::gateway {
namespace {

using ::testing::HasSubstr;

TEST(Idempotency, AKeyIsReservedFromTheFirstRequestOnForItsOwnerAlone) {
  IdempotencyKeys keys;
  auto hold = keys.Reserve(1, "k", 0);
  ASSERT_TRUE(hold);
  EXPECT_EQ(keys.Reserve(1, "k", 1).error().reason, Reason::kIdempotencyUsed);
  EXPECT_TRUE(keys.Reserve(2, "k", 1));
  hold->Confirm("req_1");
  EXPECT_THAT(keys.Reserve(1, "k", 2).error().message, HasSubstr("req_1"));
}

TEST(Idempotency, AReleasedKeyMayBeUsedAgain) {
  IdempotencyKeys keys;
  keys.Reserve(1, "k", 0)->Release();
  auto again = keys.Reserve(1, "k", 1);
  ASSERT_TRUE(again);
  again->Confirm("req_2");
  again->Release();
  EXPECT_TRUE(keys.Reserve(1, "k", 2));
}

TEST(Idempotency, ForgetsTheOldAndTheMany) {
  IdempotencyKeys keys(2, 100);
  EXPECT_TRUE(keys.Reserve(1, "a", 0));
  EXPECT_TRUE(keys.Reserve(1, "a", 101));
  for (const char* key : {"b", "c", "d"}) EXPECT_TRUE(keys.Reserve(1, key, 300));
  EXPECT_TRUE(keys.Reserve(1, "b", 300)) << "the oldest of three was forgotten";
  EXPECT_FALSE(keys.Reserve(1, "d", 300));
}

TEST(Idempotency, AKeyThatIsUsedAgainLivesItsOwnTime) {
  IdempotencyKeys keys(10, 100);
  auto first = keys.Reserve(1, "a", 0);
  first->Release();
  EXPECT_TRUE(keys.Reserve(1, "a", 90));
  first->Release();  // too late: it is another request's by now
  EXPECT_FALSE(keys.Reserve(1, "a", 150));
}

}  // namespace
}  // namespace penstock::gateway
