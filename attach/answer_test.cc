#include "attach/answer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace penstock {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

TEST(ParseChunk, ReadsTextIdsAndUsage) {
  const auto chunk = ParseChunk(R"({"choices":[{"index":0,"text":" Paris.","token_ids":[7042,30],
      "finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":2,
      "prompt_tokens_details":{"cached_tokens":4}}})");
  ASSERT_TRUE(chunk);
  EXPECT_EQ(chunk->text, " Paris.");
  EXPECT_THAT(chunk->ids, ElementsAre(7042, 30));
  EXPECT_EQ(chunk->finish, "stop");
  ASSERT_TRUE(chunk->usage);
  EXPECT_EQ(chunk->usage->prompt, 5U);
  EXPECT_EQ(chunk->usage->completion, 2U);
  EXPECT_EQ(chunk->usage->cached, 4U);
}

TEST(ParseChunk, ReadsBothFormsOfLogprobs) {
  const auto content = ParseChunk(R"({"choices":[{"text":"a","logprobs":{"content":[{"id":5,"token":"a",
      "logprob":-0.5,"top_logprobs":[{"id":5,"logprob":-0.5},{"id":6,"logprob":-1}]}]}}]})");
  ASSERT_TRUE(content);
  ASSERT_EQ(content->logprobs.size(), 1U);
  EXPECT_EQ(content->logprobs[0].token, 5);
  EXPECT_THAT(content->logprobs[0].top, ElementsAre(Pair(5, -0.5F), Pair(6, -1.0F)));
  const auto lists = ParseChunk(R"({"choices":[{"text":"a","logprobs":{"tokens":["token_id:5","b"],
      "token_logprobs":[-0.5,null],"top_logprobs":[{"token_id:6":-1}]}}]})");
  ASSERT_TRUE(lists);
  ASSERT_EQ(lists->logprobs.size(), 2U);
  EXPECT_EQ(lists->logprobs[0].token, 5);
  EXPECT_THAT(lists->logprobs[0].top, ElementsAre(Pair(6, -1.0F)));
  EXPECT_EQ(lists->logprobs[1].token, -1);
  EXPECT_TRUE(std::isinf(lists->logprobs[1].logprob));
}

TEST(ParseChunk, ReadsChatsAndTheirToolCalls) {
  const auto chunk = ParseChunk(R"({"choices":[{"delta":{"role":"assistant","content":"Hi"}}]})");
  ASSERT_TRUE(chunk);
  EXPECT_EQ(chunk->text, "Hi");
  const auto call = ParseChunk(R"({"choices":[{"delta":{"content":null,"tool_calls":[{"index":0}]}}]})");
  ASSERT_TRUE(call);
  EXPECT_TRUE(call->calls_tool);
}

TEST(ParseChunk, NamesWhatIsNoAnswer) {
  const auto said = [](std::string_view json) {
    const auto chunk = ParseChunk(json);
    return chunk ? "an answer" : chunk.error().message;
  };
  EXPECT_THAT(said("<html><title>502</title>"), HasSubstr("not a JSON object: <html>"));
  EXPECT_THAT(said("[1]"), HasSubstr("not a JSON object"));
  EXPECT_THAT(said(R"({"error":{"message":"out of memory","code":500}})"), HasSubstr("out of memory"));
  EXPECT_THAT(said(R"({"id":1})"), HasSubstr("no 'choices'"));
  EXPECT_EQ(said(R"({"choices":[]})"), "an answer");
}

TEST(ParseChunk, AnOddValueIsTakenAsNone) {
  const auto chunk = ParseChunk(R"({"choices":[{"text":5,"token_ids":["x",-3,1e99,7],"finish_reason":{},
      "logprobs":[1]}],"usage":{"prompt_tokens":-5,"completion_tokens":1e30}})");
  ASSERT_TRUE(chunk);
  EXPECT_EQ(chunk->text, "");
  EXPECT_THAT(chunk->ids, ElementsAre(-1, -1, -1, 7));
  EXPECT_EQ(chunk->usage->prompt, 0U);
}

TEST(ParseModels, ReadsIdsAndContexts) {
  const auto models = ParseModels(R"({"data":[{"id":"a","max_model_len":8192},{"id":"b"},{"x":1}]})");
  ASSERT_TRUE(models);
  ASSERT_EQ(models->size(), 2U);
  EXPECT_EQ((*models)[0].context, 8192U);
  EXPECT_FALSE(ParseModels("{}"));
}

TEST(ErrorText, IsTheServersWordsInOneShortLine) {
  EXPECT_EQ(ErrorText(R"({"error":{"message":"no"}})"), "no");
  EXPECT_EQ(ErrorText(R"({"error":"no"})"), "no");
  EXPECT_EQ(ErrorText(R"({"message":"no"})"), "no");
  EXPECT_EQ(ErrorText(R"({"detail":[{"msg":"bad"}]})"), R"([{"msg":"bad"}])");
  EXPECT_EQ(ErrorText("a\nb"), "a b");
  EXPECT_EQ(ErrorText(""), "(nothing)");
  EXPECT_EQ(ErrorText("\xFF"), "\xEF\xBF\xBD");
  EXPECT_LT(ErrorText(std::string(10'000, 'x')).size(), 400U);
}

}  // namespace
}  // namespace penstock
