#include "gateway/request/generation.h"

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

TEST(Stream, HasTheShapeThatClientsCheck) {
  World world;
  world.Do([&] { world.fleet.AnswerWith({"Hel", "", "lo"}); });
  Client client(world.port);
  client.Post(kChat, Chat(R"(,"stream":true,"stream_options":{"include_usage":true})"));
  const Streamed streamed = ReadStream(client);
  EXPECT_EQ(streamed.head.status, 200);
  EXPECT_THAT(streamed.head.headers.at("content-type"), HasSubstr("text/event-stream"));
  ASSERT_EQ(streamed.events.size(), 5);  // role, Hel, lo, finish, usage
  EXPECT_TRUE(streamed.done);
  EXPECT_TRUE(streamed.complete);
  for (const value& event : streamed.events) {
    EXPECT_EQ(Text(event.at("id")), "chatcmpl-" + streamed.head.headers.at("x-request-id"));
    EXPECT_EQ(Text(event.at("object")), "chat.completion.chunk");
    EXPECT_EQ(Text(event.at("model")), "tiny");
    EXPECT_TRUE(event.at("created").is_int64());
  }
  std::string text;
  for (size_t i = 0; i < 4; ++i) {
    const value& choice = streamed.events[i].at("choices").at(0);
    EXPECT_EQ(choice.at("index").as_int64(), 0);
    EXPECT_EQ(choice.at("delta").as_object().contains("role"), i == 0);
    EXPECT_EQ(choice.at("finish_reason").is_null(), i != 3);
    EXPECT_TRUE(streamed.events[i].at("usage").is_null());
    if (const auto* content = choice.at("delta").as_object().if_contains("content")) text += Text(*content);
  }
  EXPECT_EQ(text, "Hello");
  EXPECT_EQ(Text(streamed.events[3].at("choices").at(0).at("finish_reason")), "stop");
  EXPECT_TRUE(streamed.events[4].at("choices").as_array().empty());
  EXPECT_EQ(streamed.events[4].at("usage").at("total_tokens").as_int64(), 21);
}

TEST(Stream, TellsNoUsageUnlessAsked) {
  World world;
  world.Do([&] { world.fleet.AnswerWith({"a"}); });
  Client client(world.port);
  client.Post(kChat, Chat(R"(,"stream":true)"));
  for (const value& event : ReadStream(client).events) EXPECT_FALSE(event.as_object().contains("usage"));
}

TEST(Stream, BillsEachEventAsTheSocketTakesIt) {
  World world;
  Client client(world.port);
  client.Post(kChat, Chat(R"(,"stream":true)"));
  const std::string id = client.ReadHead().headers.at("x-request-id");
  world.Do([&] {
    world.fleet.Emit(1, "a", 1);
    world.fleet.Emit(1, "", 2);  // held back: nothing to write, so nothing to bill yet
  });
  EXPECT_THAT(world.Ask([&] { return world.accounts.records[id].billed; }), ElementsAre(1));
  world.Do([&] {
    world.fleet.Emit(1, "b", 1);
    world.fleet.Emit(1, "", 1, wire::STOP);
  });
  EXPECT_THAT(world.Ask([&] { return world.accounts.records[id].billed; }), ElementsAre(1, 3, 1));
  EXPECT_EQ(world.Record(id).outcome, "stop");
}

TEST(Stream, ASlowReaderPausesItselfAndIsBilledForWhatItTook) {
  World world;
  Client slow(world.port, 4096);
  slow.Post(kChat, Chat(R"(,"stream":true)"));
  const std::string id = slow.ReadHead().headers.at("x-request-id");
  const std::string text(4000, 'x');
  int emitted = 0;
  // Until the socket is full: then tokens are emitted and not billed, and no credit comes back.
  while (emitted < 200) {
    world.Do([&] { world.fleet.Emit(1, text); });
    ++emitted;
  }
  const int64_t billed = world.Record(id).usage.billed;
  EXPECT_LT(billed, emitted);
  EXPECT_LE(world.Ask([&] { return world.fleet.jobs[1].granted[0]; }), billed);
  // Another stream is not held up.
  Client other(world.port);
  other.Post(kChat, Chat(R"(,"stream":true)"));
  other.ReadHead();
  world.Do([&] { world.fleet.Emit(2, "quick"); });
  EXPECT_THAT(other.ReadUntil("quick"), HasSubstr("quick"));
  // Reading again takes it all.
  world.Do([&] { world.fleet.Emit(1, "", 0, wire::STOP); });
  slow.ReadUntil("[DONE]");
  EXPECT_TRUE(world.Eventually([&] { return world.accounts.records[id].record.usage.billed == emitted; }));
  EXPECT_TRUE(world.Eventually([&] { return world.accounts.records[id].record.outcome == "stop"; }));
}

TEST(Stream, AReaderThatTakesNothingForTooLongIsCut) {
  GatewayOptions options;
  options.write_timeout = 100 * kMillisecond;
  World world(options);
  Client slow(world.port, 4096);
  slow.Post(kChat, Chat(R"(,"stream":true)"));
  const std::string id = slow.ReadHead().headers.at("x-request-id");
  for (int i = 0; i < 200; ++i) world.Do([&] { world.fleet.Emit(1, std::string(8000, 'x')); });
  EXPECT_TRUE(world.Eventually([&] { return world.fleet.jobs[1].cancelled; }));
  EXPECT_EQ(world.Record(id).outcome, "cancelled");
}

TEST(Stream, CreditsComeBackAsTheClientReads) {
  World world;
  Client client(world.port);
  client.Post(kChat, Chat(R"(,"stream":true)"));
  client.ReadHead();
  EXPECT_EQ(world.Ask([&] { return world.fleet.jobs[1].job.submit.credits(); }), 256);
  world.Do([&] {
    for (int i = 0; i < 128; ++i) world.fleet.Emit(1, "x");
  });
  EXPECT_EQ(world.Ask([&] { return world.fleet.jobs[1].granted[0]; }), 128);
}

TEST(Stream, TokensWithoutTextGiveTheirCreditBackAtOnce) {
  World world;
  Client client(world.port);
  client.Post(kChat, Chat(R"(,"stream":true)"));
  client.ReadHead();
  world.Do([&] {
    for (int i = 0; i < 300; ++i) world.fleet.Emit(1, "");
  });
  EXPECT_EQ(world.Ask([&] { return world.fleet.jobs[1].granted[0]; }), 300);
}

TEST(Stream, AClientThatLeavesStopsTheGenerationAndPaysForWhatItGot) {
  World world;
  auto client = std::make_unique<Client>(world.port);
  client->Post(kChat, Chat(R"(,"stream":true)"));
  const std::string id = client->ReadHead().headers.at("x-request-id");
  world.Do([&] { world.fleet.Emit(1, "abc", 3); });
  client->ReadUntil("abc");
  client->Close();
  EXPECT_TRUE(world.Eventually([&] { return world.fleet.jobs[1].cancelled; }));
  EXPECT_EQ(world.Record(id).outcome, "cancelled");
  EXPECT_EQ(world.Record(id).usage.billed, 3);
}

TEST(Stream, AFailureInMidStreamIsAnErrorEventAndNoSilentEnd) {
  World world;
  Client client(world.port);
  client.Post(kChat, Chat(R"(,"stream":true)"));
  ASSERT_TRUE(world.Eventually([&] { return world.fleet.last == 1; }));
  world.Do([&] {
    world.fleet.Emit(1, "a");
    world.fleet.jobs[1].sink->OnFailed({Code::kUnavailable, "engine cpu0 died"});
  });
  const Streamed streamed = ReadStream(client);
  EXPECT_EQ(Text(streamed.events.back().at("error").at("message")), "engine cpu0 died");
  EXPECT_FALSE(streamed.done);
  EXPECT_TRUE(streamed.complete);
  const RequestRecord record = world.Record(streamed.head.headers.at("x-request-id"));
  EXPECT_EQ(record.outcome, "error");
  EXPECT_EQ(record.usage.billed, 1);
}

TEST(Stream, SeveralChoicesEachBeginAndEnd) {
  World world;
  Client client(world.port);
  client.Post(kChat, Chat(R"(,"stream":true,"n":2)"));
  ASSERT_TRUE(world.Eventually([&] { return world.fleet.last == 1; }));
  world.Do([&] {
    const auto sink = world.fleet.jobs[1].sink;
    world.fleet.Emit(1, "b", 1, wire::NONE, 1);
    world.fleet.Emit(1, "a", 1, wire::STOP, 0);
    world.fleet.jobs[1].sink = sink;
    world.fleet.Emit(1, "c", 1, wire::LENGTH, 1);
  });
  const Streamed streamed = ReadStream(client);
  EXPECT_TRUE(streamed.done);
  std::map<int64_t, std::string> said;
  for (const value& event : streamed.events) {
    const value& choice = event.at("choices").at(0);
    std::string& log = said[choice.at("index").as_int64()];
    if (choice.at("delta").as_object().contains("role")) log += "^";
    if (const auto* content = choice.at("delta").as_object().if_contains("content")) log += Text(*content);
    if (!choice.at("finish_reason").is_null()) log += "$" + Text(choice.at("finish_reason"));
  }
  EXPECT_EQ(said[0], "^a$stop");
  EXPECT_EQ(said[1], "^bc$length");
}

TEST(Stream, ReasoningIsAFieldOfItsOwn) {
  World world({}, "assistant:<think>");
  world.Do([&] { world.fleet.AnswerWith({"well", "</thi", "nk>", "\n\nyes"}); });
  Client client(world.port);
  client.Post(kChat, Chat(R"(,"stream":true,"stream_options":{"include_usage":true})"));
  std::string reasoning, content;
  const Streamed streamed = ReadStream(client);
  for (const value& event : streamed.events) {
    if (event.at("choices").as_array().empty()) continue;
    const auto& delta = event.at("choices").at(0).at("delta").as_object();
    if (const auto* text = delta.if_contains("reasoning_content")) reasoning += Text(*text);
    if (const auto* text = delta.if_contains("content")) content += Text(*text);
  }
  EXPECT_EQ(reasoning, "well");
  EXPECT_EQ(content, "yes");
  EXPECT_EQ(
      streamed.events.back().at("usage").at("completion_tokens_details").at("reasoning_tokens").as_int64(),
      3);
}

TEST(Stream, ManyAreOpenAtOnce) {
  constexpr size_t kStreams = 300;  // the bench has thousands; a test must get by with 1,024 descriptors
  World world;
  std::vector<Client> clients;
  for (size_t i = 0; i < kStreams; ++i) {
    clients.emplace_back(world.port);
    clients.back().Post(kChat, Chat(R"(,"stream":true)"));
  }
  ASSERT_TRUE(world.Eventually([&] { return world.fleet.last == kStreams; }));
  EXPECT_EQ(world.Ask([&] { return world.wiring.status.open_requests; }), kStreams);
  world.Do([&] {
    for (JobId id = 1; id <= kStreams; ++id) {
      for (int i = 0; i < 10; ++i) world.fleet.Emit(id, "word ");
      world.fleet.Emit(id, "", 0, wire::STOP);
    }
  });
  for (Client& client : clients) EXPECT_TRUE(ReadStream(client).done);
  EXPECT_EQ(world.Ask([&] { return world.wiring.status.open_requests; }), 0);
}

TEST(Stream, ARevokedKeyEndsItWithAClearError) {
  World world;
  Client client(world.port), whole(world.port), other(world.port);
  client.Post("/v1/chat/completions", Chat(R"(,"stream":true)"));
  ASSERT_EQ(client.ReadHead().status, 200);
  whole.Post("/v1/chat/completions", Chat());
  ASSERT_TRUE(world.Eventually([&] { return world.fleet.jobs.size() == 2; }));
  other.Post("/v1/chat/completions", Chat(R"(,"stream":true)"), "operator");
  ASSERT_EQ(other.ReadHead().status, 200);
  ASSERT_TRUE(world.Eventually([&] { return world.fleet.jobs.size() == 3; }));
  world.Do([&] {
    world.fleet.Emit(1, "Hel");
    world.accounts.revoked = {1};
  });
  std::string body;
  for (std::string chunk = client.ReadChunk(); !chunk.empty(); chunk = client.ReadChunk()) body += chunk;
  EXPECT_NE(body.find("Hel"), std::string::npos);
  EXPECT_NE(body.find("the key of this request was revoked"), std::string::npos) << body;
  EXPECT_EQ(body.find("[DONE]"), std::string::npos);
  const Answer refused = whole.Read();
  EXPECT_EQ(refused.status, 401);
  EXPECT_EQ(refused.headers.at("x-penstock-error"), "PS4003");
  EXPECT_TRUE(world.Ask([&] { return world.fleet.jobs[1].cancelled && world.fleet.jobs[2].cancelled; }));
  EXPECT_FALSE(world.Ask([&] { return world.fleet.jobs[3].cancelled; })) << "another key's";
}

}  // namespace
}  // namespace penstock::gateway
