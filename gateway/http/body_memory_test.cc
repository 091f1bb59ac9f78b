#include "gateway/http/body_memory.h"

#include <gtest/gtest.h>

#include <optional>
#include <vector>

#include "base/random.h"
#include "gateway/testing.h"

namespace penstock::gateway {
namespace {

using Charge = BodyMemory::Charge;
using Refusal = BodyMemory::Refusal;
constexpr BodyMemoryLimits kLimits{.total = 100, .per_key = 40};

TEST(BodyMemory, AKeyIsLimitedAndSoAreAllKeysTogether) {
  BodyMemory memory;
  Charge a, b, c, d, e;
  EXPECT_EQ(memory.Grow(a, 1, 30, kLimits), Refusal::kNone);
  EXPECT_EQ(memory.Grow(b, 1, 11, kLimits), Refusal::kKeyLimit);
  EXPECT_EQ(memory.Grow(b, 1, 10, kLimits), Refusal::kNone);
  EXPECT_EQ(memory.Grow(c, 2, 40, kLimits), Refusal::kNone);
  EXPECT_EQ(memory.Grow(d, 3, 21, kLimits), Refusal::kTotalLimit);
  EXPECT_EQ(memory.Grow(d, 3, 20, kLimits), Refusal::kNone);
  EXPECT_EQ(memory.held(), 100u);
  a.Release();
  EXPECT_EQ(memory.Grow(b, 1, 40, kLimits), Refusal::kNone);
  EXPECT_EQ(memory.held(), 100u);
}

TEST(BodyMemory, TheOnlyBodyIsAlwaysAccepted) {
  BodyMemory memory;
  Charge a, b;
  EXPECT_EQ(memory.Grow(a, 1, 50, kLimits), Refusal::kNone);
  EXPECT_EQ(memory.Grow(a, 1, 500, kLimits), Refusal::kNone);
  EXPECT_EQ(memory.Grow(b, 2, 1, kLimits), Refusal::kTotalLimit);
}

TEST(BodyMemory, WhatMovesIsGivenBackOnceEvenAfterItsEnd) {
  Charge last;
  {
    BodyMemory memory;
    {
      Charge first;
      EXPECT_EQ(memory.Grow(first, 1, 10, kLimits), Refusal::kNone);
      Charge second = std::move(first);
      last = std::move(second);
      EXPECT_EQ(memory.held(), 10u);
    }
    EXPECT_EQ(memory.held(), 10u);
    Charge other;
    EXPECT_EQ(memory.Grow(other, 1, 5, kLimits), Refusal::kNone);
    last = std::move(other);
    EXPECT_EQ(memory.held(), 5u);
  }
  last.Release();
}

TEST(BodyMemory, SumsHoldUnderRandomUse) {
  BodyMemory memory;
  Random random(7);
  struct Body {
    Charge charge;
    int64_t key;
    size_t bytes;
  };
  std::vector<Body> bodies;
  for (int step = 0; step < 20'000; ++step) {
    const size_t at = random.Below(20);
    if (at >= bodies.size()) {
      bodies.push_back({{}, static_cast<int64_t>(random.Below(4)), 0});
    } else if (random.Below(3) == 0) {
      std::swap(bodies[at], bodies.back());
      bodies.pop_back();
    } else {
      const size_t more = random.Below(10);
      Body& body = bodies[at];
      if (memory.Grow(body.charge, body.key, body.bytes + more, kLimits) == Refusal::kNone)
        body.bytes += more;
    }
    size_t sum = 0, count = 0;
    for (const Body& body : bodies) sum += body.bytes, count += body.bytes > 0;
    ASSERT_EQ(memory.held(), sum);
    ASSERT_TRUE(sum <= kLimits.total || count == 1);
  }
}

// ---- over HTTP ----

std::string Head(std::string_view key, size_t length) {
  return fmt::format(
      "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: "
      "{}\r\n\r\n",
      key, length);
}

testing::World WorldWith(size_t total, size_t per_key) {
  GatewayOptions options;
  options.body_memory = total;
  options.body_memory_per_key = per_key;
  return testing::World(options);
}

TEST(BodyMemory, HalfSentBodiesOfOneKeyAreRefusedBeyondItsLimitAndOthersAreServed) {
  testing::World world = WorldWith(64 << 20, 1 << 20);
  world.Do([&] { world.fleet.AnswerWith({"Hello"}); });
  std::vector<std::unique_ptr<testing::Client>> clients;
  for (int i = 0; i < 4; ++i) {
    clients.push_back(std::make_unique<testing::Client>(world.port));
    clients.back()->Send(Head("key-a", 8 << 20) + std::string(300 << 10, ' '));
    const size_t held = static_cast<size_t>(i + 1) * (300 << 10);
    if (i < 3) ASSERT_TRUE(world.Eventually([&] { return world.body_memory() == held; }));
  }
  const testing::Answer refused = clients.back()->Read();
  EXPECT_EQ(refused.status, 429);
  EXPECT_TRUE(refused.headers.contains("retry-after"));
  EXPECT_EQ(refused.headers.at("x-penstock-error"), "PS3018");
  EXPECT_NE(refused.body.find("gateway.body_memory_per_key"), std::string::npos) << refused.body;
  testing::Client other(world.port);
  other.Post("/v1/chat/completions", testing::Chat(), "operator");
  EXPECT_EQ(other.Read().status, 200);
  clients.clear();  // what they held is free again
  testing::Client again(world.port);
  again.Send(Head("key-a", 8 << 20) + std::string(900 << 10, ' '));
  EXPECT_TRUE(world.Eventually([&] { return world.body_memory() == (900 << 10); }));
}

TEST(BodyMemory, AllKeysTogetherAreLimitedToo) {
  testing::World world = WorldWith(1 << 20, 1 << 20);
  testing::Client a(world.port), b(world.port);
  a.Send(Head("key-a", 8 << 20) + std::string(700 << 10, ' '));
  EXPECT_TRUE(world.Eventually([&] { return world.body_memory() >= (700 << 10); }));
  b.Send(Head("key-b", 8 << 20) + std::string(700 << 10, ' '));
  const testing::Answer refused = b.Read();
  EXPECT_EQ(refused.status, 503);
  EXPECT_TRUE(refused.headers.contains("retry-after"));
  EXPECT_EQ(refused.headers.at("x-penstock-error"), "PS3019");
  EXPECT_NE(refused.body.find("gateway.body_memory"), std::string::npos) << refused.body;
}

TEST(BodyMemory, IsFreeAgainOnceARequestIsEncoded) {
  testing::World world = WorldWith(64 << 20, 64 << 20);
  world.Do([&] { world.fleet.AnswerWith({"Hello"}); });
  testing::Client client(world.port);
  for (const size_t bytes : {100, 20 << 10, 300 << 10}) {
    client.Post("/v1/chat/completions",
                fmt::format(R"({{"model":"tiny","messages":[{{"role":"user","content":"x"}}],"user":"{}"}})",
                            std::string(bytes, 'u')));
    EXPECT_EQ(client.Read().status, 200);
    EXPECT_TRUE(world.Eventually([&] { return world.body_memory() == 0; }));
  }
}

}  // namespace
}  // namespace penstock::gateway
