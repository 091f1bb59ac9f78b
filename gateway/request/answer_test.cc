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

constexpr std::string_view kChat = "/v1/chat/completions", kCompletions = "/v1/completions";

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
  EXPECT_EQ(world.Ask([&] { return world.fleet.jobs[1].job.owner; }), OwnerPath{1});
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
    world.models.Refresh();
    world.fleet.AnswerWith({"x"});
  });
  Client client(world.port);
  client.Post(kChat, fmt::format(R"({{"model":"tiny","messages":[{{"role":"user","content":"{}"}}]}})",
                                 std::string(50'000, 'a')));
  EXPECT_EQ(client.Read().Json().at("usage").at("prompt_tokens").as_int64(), 50'016);
}

TEST(Unary, AClientThatLeavesWhileItsLongBodyIsParsedIsForgotten) {
  World world;
  {
    Client client(world.port);
    client.Post(kChat, Chat(fmt::format(R"(,"user":"{}")", std::string(1 << 20, 'a'))));
  }
  EXPECT_TRUE(world.Eventually([&] { return world.wiring.status.connections() == 0; }));
  EXPECT_TRUE(world.Eventually([&] { return world.wiring.status.open_requests == 0; }));
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
      for (const std::string_view text : {"\xc3", "\xe6", "", "a", "a"}) {
        wire::Logprob& other = *token.add_top();
        other.set_text(std::string(text));
        other.set_token(token.top_size());
      }
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
  // Names in one JSON object: each once, whatever the tokens' bytes.
  std::vector<std::string> names;
  for (const auto& [name, _] : older.at("top_logprobs").at(0).as_object()) names.emplace_back(name);
  EXPECT_EQ(names,
            (std::vector<std::string>{"bytes:\\xc3", "bytes:\\xe6", "token_id:3", "a", "a token_id:5"}));
}

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
