#include "gateway/story.h"

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
using testing::World;

constexpr std::string_view kChat = "/v1/chat/completions", kCompletions = "/v1/completions";

std::string Text(const value& v) {
  return std::string(v.as_string());
}

struct Streamed {
  Answer head;
  std::vector<value> events;
  bool done = false, complete = false;
};
Streamed ReadStream(Client& client) {
  Streamed streamed;
  streamed.head = client.ReadHead();
  std::string body;
  for (std::string chunk = client.ReadChunk(); !chunk.empty(); chunk = client.ReadChunk()) body += chunk;
  streamed.events = Events(body, &streamed.done);
  streamed.complete = client.complete;
  return streamed;
}

// ---- one whole answer ----

TEST(Unary, IsAChatCompletionWithAllItsFields) {
  World world;
  world.Do([&] { world.fleet.AnswerWith({"Hel", "lo"}); });
  Client client(world.port);
  client.Post(kChat, Chat());
  const Answer answer = client.Read();
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_EQ(answer.headers.at("content-type"), "application/json");
  const value json = answer.Json();
  EXPECT_EQ(Text(json.at("id")), "chatcmpl-" + answer.headers.at("x-request-id"));
  EXPECT_EQ(Text(json.at("object")), "chat.completion");
  EXPECT_EQ(Text(json.at("model")), "tiny");
  EXPECT_GT(json.at("created").as_int64(), 1'700'000'000);
  EXPECT_THAT(Text(json.at("system_fingerprint")), HasSubstr("fp_"));
  const value& choice = json.at("choices").at(0);
  EXPECT_EQ(choice.at("index").as_int64(), 0);
  EXPECT_EQ(Text(choice.at("message").at("role")), "assistant");
  EXPECT_EQ(Text(choice.at("message").at("content")), "Hello");
  EXPECT_TRUE(choice.at("message").at("refusal").is_null());
  EXPECT_TRUE(choice.at("logprobs").is_null());
  EXPECT_EQ(Text(choice.at("finish_reason")), "stop");
  const value& usage = json.at("usage");
  EXPECT_EQ(usage.at("prompt_tokens").as_int64(), 18);  // "user:hi|assistant:"
  EXPECT_EQ(usage.at("completion_tokens").as_int64(), 2);
  EXPECT_EQ(usage.at("total_tokens").as_int64(), 20);
  EXPECT_EQ(usage.at("prompt_tokens_details").at("cached_tokens").as_int64(), 0);
  EXPECT_EQ(usage.at("completion_tokens_details").at("reasoning_tokens").as_int64(), 0);
}

TEST(Unary, IsBilledWhenTheClientTookIt) {
  World world;
  world.Do([&] { world.fleet.AnswerWith({"Hel", "lo"}); });
  Client client(world.port);
  client.Post(kChat, Chat());
  const std::string id = client.Read().headers.at("x-request-id");
  const RequestRecord record = world.Record(id);
  EXPECT_EQ(record.usage.billed, 2);
  EXPECT_EQ(record.emitted, 2);
  EXPECT_EQ(record.outcome, "stop");
}

TEST(Unary, ReachesTheEngineAsTheClientMeantIt) {
  World world;
  world.Do([&] { world.fleet.AnswerWith({"x"}); });
  Client client(world.port);
  client.Post(kChat, Chat(R"(,"max_tokens":5,"stop":"END","seed":7,"temperature":0,"stop_token_ids":[9])"));
  client.Read();
  const wire::Submit submit = world.Ask([&] { return world.fleet.jobs[1].job.submit; });
  EXPECT_EQ(submit.model(), "tiny");
  EXPECT_EQ(submit.max_tokens(), 5);
  EXPECT_EQ(submit.prompt_size(), 18);
  EXPECT_THAT(submit.stop(), ElementsAre("END"));
  EXPECT_THAT(submit.stop_tokens(), ElementsAre(9, 2));
  EXPECT_EQ(submit.sampling().seed(), 7);
  EXPECT_EQ(submit.credits(), 0);
  EXPECT_EQ(submit.prefix_scope(), "team1");
  EXPECT_EQ(world.Ask([&] { return world.fleet.jobs[1].job.team; }), 1);
}

TEST(Unary, WithoutALimitTheContextIsTheLimit) {
  World world;
  world.Do([&] { world.fleet.AnswerWith({"x"}); });
  Client client(world.port);
  client.Post(kChat, Chat(R"(,"max_tokens":5000)"));
  client.Read();
  client.Post(kChat, Chat());
  client.Read();
  for (const JobId job : {1, 2}) {
    EXPECT_EQ(world.Ask([&] { return world.fleet.jobs[job].job.submit.max_tokens(); }), 1000 - 18);
  }
}

TEST(Unary, SeveralChoicesComeInOrder) {
  World world;
  Client client(world.port);
  client.Post(kChat, Chat(R"(,"n":2)"));
  ASSERT_TRUE(world.Eventually([&] { return world.fleet.last == 1; }));
  world.Do([&] {
    const auto sink = world.fleet.jobs[1].sink;
    world.fleet.Emit(1, "second", 1, wire::LENGTH, 1);
    world.fleet.jobs[1].sink = sink;
    world.fleet.Emit(1, "first", 1, wire::STOP, 0);
  });
  const value json = client.Read().Json();
  EXPECT_EQ(Text(json.at("choices").at(0).at("message").at("content")), "first");
  EXPECT_EQ(Text(json.at("choices").at(1).at("message").at("content")), "second");
  EXPECT_EQ(Text(json.at("choices").at(1).at("finish_reason")), "length");
}

TEST(Unary, AClientThatLeavesStopsTheGeneration) {
  World world;
  auto client = std::make_unique<Client>(world.port);
  client->Post(kChat, Chat());
  ASSERT_TRUE(world.Eventually([&] { return world.fleet.last == 1; }));
  client->Close();
  EXPECT_TRUE(world.Eventually([&] { return world.fleet.jobs[1].cancelled; }));
  EXPECT_EQ(world.Record("req_000001").outcome, "cancelled");
  EXPECT_EQ(world.Record("req_000001").usage.billed, 0);
}

TEST(Unary, ALongPromptIsEncodedOnThePool) {
  World world;
  world.Do([&] {
    world.fleet.context = 100'000;
    world.service.catalogue.Refresh();
    world.fleet.AnswerWith({"x"});
  });
  Client client(world.port);
  client.Post(kChat, fmt::format(R"({{"model":"tiny","messages":[{{"role":"user","content":"{}"}}]}})",
                                 std::string(50'000, 'a')));
  EXPECT_EQ(client.Read().Json().at("usage").at("prompt_tokens").as_int64(), 50'016);
}

TEST(Unary, LogprobsComeWithTheirBytes) {
  World world;
  world.Do([&] {
    world.fleet.on_submit = [&](JobId id) {
      wire::TokenEvent event;
      event.set_new_tokens(1);
      event.set_text("é");
      event.set_finish(wire::STOP);
      wire::Logprob& token = *event.add_logprobs();
      token.set_text("é");
      token.set_logprob(-0.5);
      token.add_top()->set_text("\xc3");
      world.fleet.jobs[id].sink->OnTokens(event);
    };
  });
  Client client(world.port);
  client.Post(kChat, Chat(R"(,"logprobs":true,"top_logprobs":1)"));
  const value json = client.Read().Json();
  const value& token = json.at("choices").at(0).at("logprobs").at("content").at(0);
  EXPECT_EQ(Text(token.at("token")), "é");
  EXPECT_EQ(token.at("logprob").to_number<double>(), -0.5);
  EXPECT_EQ(token.at("bytes").as_array().size(), 2);
  EXPECT_EQ(token.at("top_logprobs").at(0).at("bytes").at(0).as_int64(), 0xc3);
  client.Post(kCompletions, R"({"model":"tiny","prompt":"a","logprobs":1})");
  const value older = client.Read().Json().at("choices").at(0).at("logprobs");
  EXPECT_EQ(Text(older.at("tokens").at(0)), "é");
  EXPECT_EQ(older.at("text_offset").at(0).as_int64(), 0);
}

// ---- streams ----

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
  EXPECT_EQ(world.Ask([&] { return world.service.open_stories; }), kStreams);
  world.Do([&] {
    for (JobId id = 1; id <= kStreams; ++id) {
      for (int i = 0; i < 10; ++i) world.fleet.Emit(id, "word ");
      world.fleet.Emit(id, "", 0, wire::STOP);
    }
  });
  for (Client& client : clients) EXPECT_TRUE(ReadStream(client).done);
  EXPECT_EQ(world.Ask([&] { return world.service.open_stories; }), 0);
}

// ---- the store ----

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

// ---- refusals ----

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
  world.Do([&] { world.service.draining = true; });
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

// ---- completions ----

TEST(Completions, AnswerEveryPrompt) {
  World world;
  Client client(world.port);
  client.Post(kCompletions, R"({"model":"tiny","prompt":["one","two"],"echo":true})");
  ASSERT_TRUE(world.Eventually([&] { return world.fleet.last == 2; }));
  world.Do([&] {
    world.fleet.Emit(2, "-b", 1, wire::STOP);
    world.fleet.Emit(1, "-a", 1, wire::LENGTH);
  });
  const value json = client.Read().Json();
  EXPECT_EQ(Text(json.at("object")), "text_completion");
  EXPECT_THAT(Text(json.at("id")), HasSubstr("cmpl-"));
  EXPECT_EQ(Text(json.at("choices").at(0).at("text")), "one-a");
  EXPECT_EQ(Text(json.at("choices").at(1).at("text")), "two-b");
  EXPECT_EQ(json.at("usage").at("prompt_tokens").as_int64(), 6);
}

TEST(Completions, TakeTokensAndStream) {
  World world;
  world.Do([&] { world.fleet.AnswerWith({"x", "y"}); });
  Client client(world.port);
  client.Post(kCompletions, R"({"model":"tiny","prompt":[65,66],"stream":true,"echo":true})");
  const Streamed streamed = ReadStream(client);
  std::string text;
  for (const value& event : streamed.events) text += Text(event.at("choices").at(0).at("text"));
  EXPECT_EQ(text, "ABxy");
  EXPECT_TRUE(streamed.done);
}

TEST(Completions, ATokenOutsideTheVocabularyIsRefused) {
  World world;
  Client client(world.port);
  client.Post(kCompletions, R"({"model":"tiny","prompt":[256]})");
  EXPECT_EQ(client.Read().Error("param"), "prompt");
  client.Post(kChat, Chat(R"(,"logit_bias":{"256":1})"));
  EXPECT_EQ(client.Read().Error("param"), "logit_bias");
}

}  // namespace
}  // namespace penstock::gateway
