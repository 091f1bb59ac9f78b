#include "gateway/request/admission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gateway/testing.h"

namespace penstock::gateway {
namespace {

using boost::json::value;
using testing::Answer;
using testing::Chat;
using testing::Client;
using ::testing::ElementsAre;
using testing::Events;
using ::testing::HasSubstr;
using testing::ReadStream;
using testing::Streamed;
using testing::Text;
using testing::World;

constexpr std::string_view kChat = "/v1/chat/completions";

TEST(Refusals, CarryTheirShortCodeInAHeader) {
  World world;
  const auto code = [&](std::string_view path, std::string_view body, std::string_view key) {
    Client client(world.port);
    client.Post(path, body, key);
    const Answer answer = client.Read();
    const boost::json::value error = answer.Json().at("error");
    EXPECT_EQ(error.as_object().size(), 4u) << "OpenAI's four keys and no more";
    return answer.headers.contains("x-penstock-error") ? answer.headers.at("x-penstock-error") : "";
  };
  EXPECT_EQ(code(kChat, "{", "key-a"), "PS3003");
  EXPECT_EQ(code(kChat, R"({"model":"tiny"})", "key-a"), "PS3001");
  EXPECT_EQ(code(kChat, Chat(R"(,"tools":[1])"), "key-a"), "PS3002");
  EXPECT_EQ(code(kChat, R"({"model":"none","messages":[{"role":"user","content":"a"}]})", "key-a"), "PS3005");
  EXPECT_EQ(code(kChat, Chat(), "key-b"), "PS4006");
  EXPECT_EQ(code("/nowhere", "{}", "key-a"), "PS3010");
  EXPECT_EQ(code("/v1/models", "{}", "key-a"), "PS3011");
  EXPECT_EQ(code("/admin/v1/teams", "{}", "key-a"), "PS4005");
  world.Do([&] { world.accounts.store_fault = "disk full"; });
  EXPECT_EQ(code(kChat, Chat(), "key-a"), "PS5001");
}

TEST(Store, NothingGoesOutBeforeTheRecordIsDurable) {
  World world;
  world.Do([&] {
    world.accounts.hold_durable = true;
    world.fleet.AnswerWith({"early"});
  });
  Client client(world.port);
  client.Post(kChat, Chat(R"(,"stream":true)"));
  ASSERT_TRUE(world.Eventually([&] { return world.accounts.held.size() == 1; }));
  ASSERT_TRUE(world.Eventually([&] { return world.fleet.jobs[1].sink == nullptr; }));
  EXPECT_EQ(world.Record("req_000001").usage.billed, 0);
  world.Do([&] { world.accounts.held[0]({}); });
  const Streamed streamed = ReadStream(client);
  EXPECT_TRUE(streamed.done);
  EXPECT_EQ(world.Record("req_000001").usage.billed, 1);
}

TEST(Store, WhatCannotBeRecordedIsNotRun) {
  World world;
  world.Do([&] { world.accounts.durable_error = Error{Code::kIo, "disk full"}; });
  Client client(world.port);
  client.Post(kChat, Chat(R"(,"stream":true)"));
  const Answer answer = client.Read();
  EXPECT_EQ(answer.status, 503);
  EXPECT_THAT(answer.Error("message"), HasSubstr("disk full"));
  EXPECT_TRUE(world.Ask([&] { return world.fleet.jobs[1].cancelled; }));
}

TEST(Store, AFaultStopsAdmissionAndFinishesWhatRuns) {
  World world;
  Client running(world.port), refused(world.port);
  running.Post(kChat, Chat(R"(,"stream":true)"));
  running.ReadHead();
  world.Do([&] { world.accounts.store_fault = "disk full"; });
  refused.Post(kChat, Chat());
  const Answer answer = refused.Read();
  EXPECT_EQ(answer.status, 503);  // never 401
  EXPECT_TRUE(answer.headers.contains("retry-after"));
  refused.Get("/readyz");
  EXPECT_EQ(refused.Read().status, 503);
  refused.Get("/livez");
  EXPECT_EQ(refused.Read().status, 200);
  world.Do([&] { world.fleet.Emit(1, "done", 1, wire::STOP); });
  EXPECT_THAT(running.ReadUntil("[DONE]"), HasSubstr("done"));
}

TEST(Refusal, HasAllFourKeys) {
  World world;
  Client client(world.port);
  client.Post(kChat, "{");
  const Answer answer = client.Read();
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(answer.Error("type"), "invalid_request_error");
  EXPECT_EQ(answer.Error("param"), "null");
  EXPECT_EQ(answer.Error("code"), "invalid_json");
}

TEST(Refusal, AWrongKeyIs401) {
  World world;
  Client client(world.port);
  client.Post(kChat, Chat(), "wrong");
  const Answer answer = client.Read();
  EXPECT_EQ(answer.status, 401);
  EXPECT_EQ(answer.Error("code"), "invalid_api_key");
}

TEST(Refusal, AWrongModelListsTheRightOnes) {
  World world;
  Client client(world.port);
  client.Post(kChat, R"({"model":"gpt-4","messages":[{"role":"user","content":"a"}]})");
  const Answer answer = client.Read();
  EXPECT_EQ(answer.status, 404);
  EXPECT_EQ(answer.Error("code"), "model_not_found");
  EXPECT_EQ(answer.Error("param"), "model");
  EXPECT_THAT(answer.Error("message"), HasSubstr("yours are: other, tiny"));
}

TEST(Refusal, AModelOutsideTheKeysScopeIs403) {
  World world;
  Client client(world.port);
  client.Post(kChat, Chat(), "key-b");
  const Answer answer = client.Read();
  EXPECT_EQ(answer.status, 403);
  EXPECT_THAT(answer.Error("message"), HasSubstr("yours are: other"));
}

TEST(Refusal, APromptLongerThanTheContextSaysHowLong) {
  World world;
  Client client(world.port);
  client.Post(kChat, fmt::format(R"({{"model":"tiny","messages":[{{"role":"user","content":"{}"}}]}})",
                                 std::string(984, 'a')));
  const Answer answer = client.Read();
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(answer.Error("code"), "context_length_exceeded");
  EXPECT_THAT(answer.Error("message"), HasSubstr("1000 tokens"));
}

TEST(Refusal, TheContextIsThatOfTheEngineWithMostMemoryAlsoWhileItIsAway) {
  World world;
  const auto longest = [&] {
    Client client(world.port);
    client.Get("/v1/models", "key-a");
    const auto models = client.Read().Json().at("data").as_array();
    return models.at(0).at("max_model_len").to_number<uint32_t>();
  };
  const auto set = [&](uint32_t small, std::optional<uint32_t> large) {
    world.Do([&] {
      world.fleet.context = small;
      world.fleet.more_engines.resize(1);
      EngineView& engine = world.fleet.more_engines[0];
      engine.name = "large";
      engine.connected = large.has_value();
      engine.models.clear();
      for (const char* name : {"other", "tiny"}) {
        wire::ModelState& state = engine.models.emplace_back();
        state.set_name(name);
        state.set_state(wire::ModelState::READY);
        state.set_context(large.value_or(0));
      }
      world.models.Refresh();
    });
  };
  set(300, 700);
  EXPECT_EQ(longest(), 700U);
  set(300, std::nullopt);
  EXPECT_EQ(longest(), 700U) << "it may be back soon";
  set(300, 400);
  EXPECT_EQ(longest(), 400U);
}

TEST(Refusal, TheTemplatesOwnWordsReachTheClient) {
  World world;
  Client client(world.port);
  client.Post(kChat, R"({"model":"tiny","messages":[{"role":"user","content":"raise"}]})");
  const Answer answer = client.Read();
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(answer.Error("param"), "messages");
  EXPECT_THAT(answer.Error("message"), HasSubstr("must alternate"));
}

TEST(Refusal, AFullQueueIs429WithATimeToComeBack) {
  World world;
  world.Do([&] { world.fleet.refuse = Error{Code::kOverloaded, "4096 jobs wait already"}; });
  Client client(world.port);
  client.Post(kChat, Chat());
  const Answer answer = client.Read();
  EXPECT_EQ(answer.status, 429);
  EXPECT_LE(std::stoi(answer.headers.at("retry-after")), 60);
  EXPECT_EQ(world.Ask([&] { return world.accounts.records.size(); }), 0);
}

TEST(Refusal, ARepeatedIdempotencyKeyIs409AndNotToBeRetried) {
  World world;
  world.Do([&] { world.fleet.AnswerWith({"a"}); });
  Client client(world.port);
  client.Post(kChat, Chat(), "key-a", "idempotency-key: k1\r\n");
  EXPECT_EQ(client.Read().status, 200);
  client.Post(kChat, Chat(), "key-a", "idempotency-key: k1\r\n");
  const Answer answer = client.Read();
  EXPECT_EQ(answer.status, 409);
  EXPECT_EQ(answer.headers.at("x-should-retry"), "false");
  EXPECT_THAT(answer.Error("message"), HasSubstr("req_000001"));
  client.Post(kChat, Chat(), "operator", "idempotency-key: k1\r\n");
  EXPECT_EQ(client.Read().status, 200);  // another key's is another's
}

TEST(Refusal, ARequestThatFailedBeforeItsFirstTokenMayBeSentAgain) {
  World world;
  world.Do([&] {
    world.fleet.on_submit = [&](JobId id) {
      world.fleet.jobs[id].sink->OnFailed({Code::kUnavailable, "engine cpu0 died"});
    };
  });
  Client client(world.port);
  for (int i = 0; i < 2; ++i) {
    client.Post(kChat, Chat(), "key-a", "idempotency-key: k1\r\n");
    EXPECT_EQ(client.Read().status, 503);
  }
}

TEST(Refusal, AStoppingServerTakesNothingNew) {
  World world;
  Client client(world.port);
  client.Get("/livez");
  client.Read();
  world.Do([&] { world.wiring.status.draining = true; });
  client.Post(kChat, Chat());
  EXPECT_EQ(client.Read().status, 503);
}

TEST(Refusal, IgnoredFieldsAreNamedInAHeaderThatCannotBeBroken) {
  World world;
  world.Do([&] { world.fleet.AnswerWith({"a"}); });
  Client client(world.port);
  client.Post(kChat, Chat(R"(,"foo":1,"a\r\nx-evil: 1":2)"));
  const Answer answer = client.Read();
  EXPECT_EQ(answer.headers.at("x-penstock-ignored"), "foo, a??x-evil:?1");
  EXPECT_FALSE(answer.headers.contains("x-evil"));
}

}  // namespace
}  // namespace penstock::gateway
