// The billing rule (teams/teams.h), case by case: what delivered nothing is billed nothing, the prompt is
// billed with the first output that the socket accepted, and what was computed is always counted.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gateway/testing.h"

namespace penstock::gateway {
namespace {

using testing::Chat;
using testing::Client;
using testing::World;

constexpr std::string_view kPath = "/v1/chat/completions";

// "user:hi|assistant:" in the tokenizer of bytes.
constexpr int64_t kPrompt = 18;

void ExpectBilled(World& world, int64_t input, int64_t output) {
  ASSERT_TRUE(world.Eventually([&] { return world.accounts.records["req_000001"].record.state == "ended"; }));
  const RequestRecord record = world.Record("req_000001");
  EXPECT_EQ(record.usage.input, input);
  EXPECT_EQ(record.usage.billed, output);
  EXPECT_EQ(record.prompt, kPrompt) << "the size is kept apart from what is billed";
}

bool Queued(World& world, JobId job = 1) {
  return world.Eventually([&world, job] { return world.fleet.last == job; });
}

TEST(Billing, AStreamsPromptIsBilledWithTheFirstOutputThatTheSocketAccepts) {
  World world;
  Client client(world.port);
  client.Post(kPath, Chat(R"(,"stream":true)"));
  ASSERT_TRUE(Queued(world));
  client.ReadHead();
  EXPECT_EQ(world.Record("req_000001").usage.input, 0) << "the head of a response is no output";
  world.Do([&] { world.fleet.Emit(1, "a"); });
  EXPECT_EQ(world.Record("req_000001").usage.input, kPrompt);
  world.Do([&] { world.fleet.Emit(1, "", 1, wire::STOP); });
  ExpectBilled(world, kPrompt, 2);
}

TEST(Billing, AWholeAnswerIsBilledWhenItIsAccepted) {
  World world;
  Client client(world.port);
  client.Post(kPath, Chat());
  ASSERT_TRUE(Queued(world));
  world.Do([&] { world.fleet.Emit(1, "a"); });
  EXPECT_EQ(world.Record("req_000001").usage.input, 0);
  world.Do([&] { world.fleet.Emit(1, "b", 1, wire::STOP); });
  ExpectBilled(world, kPrompt, 2);
}

TEST(Billing, AnAnswerWithoutOutputTokensBillsThePrompt) {
  for (const char* more : {"", R"(,"stream":true)"}) {
    World world;
    Client client(world.port);
    client.Post(kPath, Chat(more));
    ASSERT_TRUE(Queued(world));
    world.Do([&] { world.fleet.Emit(1, "", 0, wire::STOP); });
    ExpectBilled(world, kPrompt, 0);
  }
}

TEST(Billing, ARequestThatTimesOutInTheQueueIsBilledNothing) {
  World world;
  Client client(world.port);
  client.Post(kPath, Chat());
  ASSERT_TRUE(Queued(world));
  world.Do([&] {
    world.fleet.jobs[1].sink->OnFailed({Code::kOverloaded, "no engine became free", Reason::kQueueTimeout});
  });
  EXPECT_EQ(client.Read().status, 429);
  ExpectBilled(world, 0, 0);
}

TEST(Billing, ARequestThatIsAbandonedWhileItWaitsIsBilledNothingAndWhatWasComputedCounts) {
  for (const char* more : {"", R"(,"stream":true)"}) {
    World world;
    auto client = std::make_unique<Client>(world.port);
    client->Post(kPath, Chat(more));
    ASSERT_TRUE(Queued(world));
    world.Do([&] { world.fleet.jobs[1].sink->OnCharge(5 * kMillisecond, 18); });
    client.reset();
    ExpectBilled(world, 0, 0);
    EXPECT_EQ(world.Record("req_000001").chip_ns, 5 * kMillisecond);
    EXPECT_EQ(world.Record("req_000001").computed, 18);
  }
}

TEST(Billing, AWholeAnswerThatNobodyWaitsForIsBilledNothing) {
  World world;
  auto client = std::make_unique<Client>(world.port);
  client->Post(kPath, Chat());
  ASSERT_TRUE(Queued(world));
  world.Do([&] { world.fleet.Emit(1, "a", 1); });
  client.reset();
  ExpectBilled(world, 0, 0);
  EXPECT_EQ(world.Record("req_000001").emitted, 1);
}

TEST(Billing, AFaultOfTheStoreBillsNothing) {
  World world;
  world.Do([&] { world.accounts.durable_error = Error{Code::kIo, "disk full"}; });
  Client client(world.port);
  client.Post(kPath, Chat());
  EXPECT_EQ(client.Read().status, 503);
  ExpectBilled(world, 0, 0);
}

TEST(Billing, AFailureBeforeAnyOutputIsBilledNothing) {
  World world;
  Client client(world.port);
  client.Post(kPath, Chat(R"(,"stream":true)"));
  ASSERT_TRUE(Queued(world));
  client.ReadHead();
  world.Do([&] { world.fleet.jobs[1].sink->OnFailed({Code::kUnavailable, "the engine died"}); });
  ExpectBilled(world, 0, 0);
}

TEST(Billing, ARefusalLeavesNoRecordAndQueuesNothing) {
  World world;
  const auto refused = [&](std::string_view body, std::string_view key = "key-a") {
    Client client(world.port);
    client.Post(kPath, body, key);
    return client.Read().status;
  };
  EXPECT_EQ(refused(Chat(), "unknown"), 401);
  EXPECT_EQ(refused(R"({"model":"none","messages":[{"role":"user","content":"hi"}]})"), 404);
  EXPECT_EQ(refused(Chat(), "key-b"), 403);
  EXPECT_EQ(refused(fmt::format(R"({{"model":"tiny","messages":[{{"role":"user","content":"{}"}}]}})",
                                std::string(2000, 'x'))),
            400);
  world.Do([&] { world.fleet.only_external = true; });
  EXPECT_EQ(refused(Chat()), 403);
  world.Do([&] {
    world.fleet.only_external = false;
    world.fleet.refuse = Error{Code::kOverloaded, "4096 wait", Reason::kQueueFull};
  });
  EXPECT_EQ(refused(Chat()), 429);
  world.Do([&] {
    world.fleet.refuse.reset();
    world.accounts.refuse = Error{Code::kOverloaded, "16384 are open", Reason::kTooManyOpen};
  });
  EXPECT_EQ(refused(Chat()), 429);
  EXPECT_EQ(world.Ask([&] { return world.accounts.records.size(); }), 0);
  EXPECT_EQ(world.Ask([&] { return world.fleet.last; }), 0) << "no work before the ticket";
}

// ---- a key for one run ----

TEST(IdempotencyKey, TwoThatArriveTogetherRunOnce) {
  World world;
  // Long enough for the pool: neither is admitted before the other arrives.
  const std::string body =
      fmt::format(R"({{"model":"tiny","messages":[{{"role":"user","content":"hi"}}],"user":"{}"}})",
                  std::string(9000, 'u'));
  std::vector<Client> clients;
  for (int i = 0; i < 2; ++i) {
    clients.emplace_back(world.port);
    clients.back().Post(kPath, body, "key-a", "idempotency-key: once\r\n");
  }
  ASSERT_TRUE(Queued(world));
  world.Do([&] { world.fleet.AnswerWith({"a"}); });
  world.Do([&] { world.fleet.on_submit(1); });
  std::vector<int> status = {clients[0].Read().status, clients[1].Read().status};
  EXPECT_THAT(status, ::testing::UnorderedElementsAre(200, 409));
  EXPECT_EQ(world.Ask([&] { return world.fleet.last; }), 1);
}

TEST(IdempotencyKey, ARequestThatDeliveredNothingMayBeSentAgain) {
  World world;
  world.Do([&] { world.fleet.refuse = Error{Code::kOverloaded, "4096 wait", Reason::kQueueFull}; });
  const auto post = [&] {
    Client client(world.port);
    client.Post(kPath, Chat(), "key-a", "idempotency-key: again\r\n");
    return client.Read().status;
  };
  EXPECT_EQ(post(), 429);
  world.Do([&] {
    world.fleet.refuse.reset();
    world.fleet.AnswerWith({"a"});
  });
  EXPECT_EQ(post(), 200);
  EXPECT_EQ(post(), 409);
}

// ---- a limit ----

TEST(Limit, ReachesTheEngineWithTheTicketAndEndsAtTheExactToken) {
  World world;
  world.Do([&] { world.accounts.next_limit = 2; });
  Client client(world.port);
  client.Post(kPath, Chat(R"(,"stream":true)"));
  ASSERT_TRUE(Queued(world));
  EXPECT_EQ(world.Ask([&] { return world.fleet.jobs[1].job.submit.limit(); }), 2);
  world.Do([&] {
    for (const char* text : {"a", "b", "c"}) world.fleet.Emit(1, text);
  });
  const auto streamed = testing::ReadStream(client);
  EXPECT_TRUE(streamed.done);
  EXPECT_EQ(testing::Text(streamed.events.back().at("choices").at(0).at("finish_reason")), "length");
  ExpectBilled(world, kPrompt, 2);
  EXPECT_EQ(world.Record("req_000001").outcome, "length");
  EXPECT_TRUE(world.Ask([&] { return world.fleet.jobs[1].cancelled; }));
}

TEST(Limit, CanShrinkWhileTheRequestRunsButNotBelowWhatWasEmitted) {
  World world;
  Client client(world.port);
  client.Post(kPath, Chat(R"(,"stream":true)"));
  ASSERT_TRUE(Queued(world));
  world.Do([&] {
    world.fleet.Emit(1, "a");
    EXPECT_EQ(*world.accounts.SetLimit("req_000001", 3), 3);
  });
  EXPECT_EQ(world.Ask([&] { return world.fleet.jobs[1].job.submit.limit(); }), 3) << "the engine is told";
  world.Do([&] {
    world.fleet.Emit(1, "b");
    EXPECT_EQ(*world.accounts.SetLimit("req_000001", 1), 2);
  });
  EXPECT_TRUE(testing::ReadStream(client).done);
  ExpectBilled(world, kPrompt, 2);
  EXPECT_EQ(world.Record("req_000001").outcome, "length");
}

TEST(Limit, HoldsForAllChoicesTogether) {
  World world;
  world.Do([&] { world.accounts.next_limit = 3; });
  Client client(world.port);
  client.Post(kPath, Chat(R"(,"n":2)"));
  ASSERT_TRUE(Queued(world));
  world.Do([&] {
    for (uint32_t i = 0; i < 4; ++i) world.fleet.Emit(1, "x", 1, wire::NONE, i % 2);
  });
  const auto answer = client.Read();
  EXPECT_EQ(answer.status, 200);
  const auto choices = answer.Json().at("choices").as_array();
  EXPECT_EQ(testing::Text(choices.at(0).at("message").at("content")), "xx");
  EXPECT_EQ(testing::Text(choices.at(1).at("message").at("content")), "x");
  ExpectBilled(world, kPrompt, 3);
}

TEST(Limit, OfNothingEndsTheRequestOnceItsRecordIsDurable) {
  World world;
  world.Do([&] { world.accounts.hold_durable = true; });
  Client client(world.port);
  client.Post(kPath, Chat());
  ASSERT_TRUE(Queued(world));
  world.Do([&] {
    EXPECT_EQ(*world.accounts.SetLimit("req_000001", 0), 0);
    for (auto& ready : std::exchange(world.accounts.held, {})) ready({});
  });
  EXPECT_EQ(client.Read().status, 200);
  ExpectBilled(world, kPrompt, 0);
}

}  // namespace
}  // namespace penstock::gateway
