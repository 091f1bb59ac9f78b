#include "gateway/dialects/openai/openai.h"
#include "gateway/dialects/openai/errors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gateway/dialects/openai/fields.h"

namespace penstock::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Body(std::string_view more) {
  return fmt::format(R"({{"model":"tiny","messages":[{{"role":"user","content":"hi"}}]{}}})", more);
}

ChatRequest Parsed(std::string_view more) {
  const auto request = ParseChat(Body(more));
  EXPECT_TRUE(request) << (request ? "" : request.error().message);
  return request.value_or(ChatRequest{});
}

ApiError Refused(std::string_view more) {
  const auto request = ParseChat(Body(more));
  EXPECT_FALSE(request) << more;
  return request ? ApiError{} : request.error();
}

ApiError RefusedMessages(std::string_view messages) {
  const auto request = ParseChat(fmt::format(R"({{"model":"tiny","messages":{}}})", messages));
  EXPECT_FALSE(request) << messages;
  return request ? ApiError{} : request.error();
}

TEST(ParseChat, ReadsEveryFieldThatShapesTheAnswer) {
  const ChatRequest request = Parsed(
      R"(,"max_tokens":7,"temperature":0.5,"top_p":0.9,"n":2,"stop":["a","b"],"seed":-1,"logprobs":true,"top_logprobs":3,"logit_bias":{"5":-100},"frequency_penalty":1,"presence_penalty":-1,"top_k":20,"min_p":0.1,"repetition_penalty":1.1,"stream":true,"stream_options":{"include_usage":true})");
  EXPECT_EQ(request.model, "tiny");
  EXPECT_EQ(request.max_tokens, 7);
  EXPECT_EQ(request.choices, 2);
  EXPECT_THAT(request.stop, ElementsAre("a", "b"));
  EXPECT_EQ(request.seed, ~uint64_t{0});
  EXPECT_FLOAT_EQ(request.sampling.temperature(), 0.5);
  EXPECT_FLOAT_EQ(request.sampling.top_p(), 0.9);
  EXPECT_EQ(request.sampling.top_k(), 20);
  EXPECT_FLOAT_EQ(request.sampling.min_p(), 0.1);
  EXPECT_FLOAT_EQ(request.sampling.repetition_penalty(), 1.1);
  EXPECT_FLOAT_EQ(request.sampling.frequency_penalty(), 1);
  EXPECT_FLOAT_EQ(request.sampling.presence_penalty(), -1);
  EXPECT_EQ(request.sampling.top_logprobs(), 3);
  EXPECT_THAT(request.sampling.bias_tokens(), ElementsAre(5));
  EXPECT_THAT(request.sampling.bias_values(), ElementsAre(-100));
  EXPECT_TRUE(request.stream);
  EXPECT_TRUE(request.include_usage);
  EXPECT_TRUE(request.ignored.empty());
}

TEST(ParseChat, HasOpenAisDefaults) {
  const ChatRequest request = Parsed("");
  EXPECT_EQ(request.max_tokens, 0);
  EXPECT_EQ(request.choices, 1);
  EXPECT_FALSE(request.seed);
  EXPECT_FLOAT_EQ(request.sampling.temperature(), 1);
  EXPECT_FLOAT_EQ(request.sampling.top_p(), 1);
  EXPECT_FLOAT_EQ(request.sampling.repetition_penalty(), 1);
  EXPECT_EQ(request.sampling.top_logprobs(), -1);
}

TEST(ParseChat, TakesNullAsAbsent) {
  const ChatRequest request = Parsed(
      R"(,"temperature":null,"stop":null,"n":null,"tools":null,"stream_options":null,"response_format":null)");
  EXPECT_FLOAT_EQ(request.sampling.temperature(), 1);
}

TEST(ParseChat, TheNewerNameOfTheTokenLimitWins) {
  EXPECT_EQ(Parsed(R"(,"max_tokens":5,"max_completion_tokens":9)").max_tokens, 9);
}

TEST(ParseChat, NamesTheByteWhereJsonGoesWrong) {
  const auto request = ParseChat(R"({"model": "x", oops})");
  ASSERT_FALSE(request);
  EXPECT_EQ(OpenAiErrorOf(request.error()).status, 400);
  EXPECT_EQ(OpenAiErrorOf(request.error()).code, "invalid_json");
  EXPECT_THAT(request.error().message, HasSubstr("at byte 15"));
}

TEST(ParseChat, RefusesWhatIsNoJsonObject) {
  for (const char* body :
       {"", "[]", "1", "{} {}", "{\"a\":", "{\"a\":\"\xff\"}", "{\"model\":\"\\ud800\"}"}) {
    EXPECT_FALSE(ParseChat(body)) << body;
  }
  EXPECT_FALSE(ParseChat(std::string(100'000, '[')));
}

TEST(ParseChat, NamesTheFieldOfAWrongTypeOrRange) {
  struct Row {
    const char *more, *param;
  };
  for (const Row& row :
       {Row{R"(,"temperature":"hot")", "temperature"},
        Row{R"(,"temperature":2.1)", "temperature"},
        Row{R"(,"top_p":-1)", "top_p"},
        Row{R"(,"n":0)", "n"},
        Row{R"(,"n":9)", "n"},
        Row{R"(,"n":1.5)", "n"},
        Row{R"(,"max_tokens":0)", "max_tokens"},
        Row{R"(,"max_tokens":1e300)", "max_tokens"},
        Row{R"(,"stop":[""])", "stop"},
        Row{R"(,"stop":[1])", "stop"},
        Row{R"(,"logit_bias":{"a":1})", "logit_bias"},
        Row{R"(,"logit_bias":{"1":101})", "logit_bias"},
        Row{R"(,"logit_bias":[])", "logit_bias"},
        Row{R"(,"stream":"yes")", "stream"},
        Row{R"(,"top_logprobs":21,"logprobs":true)", "top_logprobs"},
        Row{R"(,"top_logprobs":2)", "top_logprobs"},
        Row{R"(,"presence_penalty":3)", "presence_penalty"},
        Row{R"(,"seed":"x")", "seed"},
        Row{R"(,"stop_token_ids":[-1])", "stop_token_ids"},
        Row{R"(,"stream_options":{"include_usage":true})", "stream_options"},
        Row{R"(,"stream":true,"stream_options":{"include_usage":1})", "stream_options.include_usage"},
        Row{R"(,"chat_template_kwargs":{"messages":[]})", "chat_template_kwargs"}}) {
    const ApiError error = Refused(row.more);
    EXPECT_EQ(error.code, Code::kInvalid) << row.more;
    EXPECT_EQ(error.param, row.param) << row.more;
  }
}

TEST(ParseChat, RefusesByNameWhatWouldChangeTheAnswer) {
  struct Row {
    const char *more, *param;
  };
  for (const Row& row :
       {Row{R"(,"tools":[{"type":"function"}])", "tools"}, Row{R"(,"tool_choice":"required")", "tool_choice"},
        Row{R"(,"functions":[{}])", "functions"},
        Row{R"(,"response_format":{"type":"json_object"})", "response_format"},
        Row{R"(,"response_format":{"type":"json_schema","json_schema":{}})", "response_format"},
        Row{R"(,"audio":{"voice":"x"})", "audio"}, Row{R"(,"modalities":["text","audio"])", "modalities"},
        Row{R"(,"guided_json":{"a":1})", "guided_json"}, Row{R"(,"min_tokens":3)", "min_tokens"},
        Row{R"(,"continue_final_message":true)", "continue_final_message"}}) {
    const ApiError error = Refused(row.more);
    EXPECT_EQ(OpenAiErrorOf(error).status, 400) << row.more;
    EXPECT_EQ(OpenAiErrorOf(error).code, "unsupported_parameter") << row.more;
    EXPECT_EQ(error.param, row.param) << row.more;
  }
}

TEST(ParseChat, LetsPassWhatIsEmptyOrHarmless) {
  const ChatRequest request = Parsed(
      R"(,"tools":[],"tool_choice":"auto","response_format":{"type":"text"},"store":true,"metadata":{"a":"b"},"user":"u","safety_identifier":"s","prompt_cache_key":"k","service_tier":"auto","parallel_tool_calls":true,"min_tokens":0,"modalities":["text"])");
  EXPECT_TRUE(request.ignored.empty());
}

TEST(ParseChat, ListsWhatItIgnored) {
  const ChatRequest request =
      Parsed(R"(,"foo":1,"thinking_budget":100,"reasoning_effort":"low","verbosity":"low")");
  EXPECT_THAT(request.ignored,
              ::testing::UnorderedElementsAre("foo", "thinking_budget", "reasoning_effort", "verbosity"));
}

TEST(ParseChat, JoinsTextPartsAndMapsDeveloperToSystem) {
  const auto request = ParseChat(
      R"({"model":"m","messages":[{"role":"developer","content":[{"type":"text","text":"a","cache_control":{}},
          {"type":"text","text":"b"}]},{"role":"assistant","content":"x","reasoning_content":"why"},
          {"role":"user","content":"\"q\"\n"}]})");
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(
      request->messages,
      R"([{"role":"system","content":"a\nb"},{"role":"assistant","content":"x","reasoning_content":"why"},)"
      R"({"role":"user","content":"\"q\"\n"}])");
}

TEST(ParseChat, NamesThePathOfAWrongMessage) {
  EXPECT_EQ(RefusedMessages("[]").param, "messages");
  EXPECT_EQ(RefusedMessages(R"(["hi"])").param, "messages[0]");
  EXPECT_EQ(RefusedMessages(R"([{"content":"hi"}])").param, "messages[0].role");
  EXPECT_EQ(RefusedMessages(R"([{"role":"king","content":"hi"}])").param, "messages[0].role");
  EXPECT_EQ(RefusedMessages(R"([{"role":"user"}])").param, "messages[0].content");
  EXPECT_EQ(RefusedMessages(R"([{"role":"user","content":"a"},{"role":"tool","content":"b"}])").param,
            "messages[1].role");
  EXPECT_EQ(RefusedMessages(R"([{"role":"user","content":[{"type":"image_url","image_url":{}}]}])").param,
            "messages[0].content[0].type");
  EXPECT_EQ(RefusedMessages(R"([{"role":"user","content":[{"type":"text"}]}])").param,
            "messages[0].content[0].text");
  EXPECT_EQ(RefusedMessages(R"([{"role":"assistant","content":null,"tool_calls":[{}]}])").param,
            "messages[0].tool_calls");
}

TEST(ParseChat, ThinkingIsSwitchedByTheMostExplicitField) {
  EXPECT_EQ(Parsed(R"(,"enable_thinking":false)").template_members, R"(,"enable_thinking":false)");
  EXPECT_EQ(Parsed(R"(,"reasoning_effort":"none")").template_members, R"(,"enable_thinking":false)");
  EXPECT_EQ(
      Parsed(R"(,"chat_template_kwargs":{"enable_thinking":true},"enable_thinking":false)").template_members,
      R"(,"enable_thinking":true)");
}

TEST(ParseCompletion, ReadsEveryFormOfPrompt) {
  const auto prompts = [](std::string_view prompt) {
    const auto request = ParseCompletion(fmt::format(R"({{"model":"m","prompt":{}}})", prompt));
    EXPECT_TRUE(request) << prompt;
    return request ? request->prompts : std::vector<ChatRequest::Prompt>{};
  };
  EXPECT_EQ(prompts(R"("a")").size(), 1);
  EXPECT_EQ(prompts(R"(["a","b"])").at(1).text, "b");
  EXPECT_THAT(prompts("[1,2]").at(0).tokens, ElementsAre(1, 2));
  EXPECT_THAT(prompts("[[1,2],[3]]").at(1).tokens, ElementsAre(3));
}

TEST(ParseCompletion, RefusesWhatIsNoPromptOrNotServed) {
  struct Row {
    const char *fields, *param;
  };
  for (const Row& row :
       {Row{R"("x":1)", "prompt"}, Row{R"("prompt":[1,"a"])", "prompt"}, Row{R"("prompt":[-1])", "prompt"},
        Row{R"("prompt":{})", "prompt"}, Row{R"("prompt":[null])", "prompt"},
        Row{R"("prompt":"a","suffix":"b")", "suffix"}, Row{R"("prompt":"a","best_of":3)", "best_of"},
        Row{R"("prompt":"a","echo":true,"logprobs":1)", "echo"},
        Row{R"("prompt":"a","logprobs":true)", "logprobs"}}) {
    const auto request = ParseCompletion(fmt::format(R"({{"model":"m",{}}})", row.fields));
    ASSERT_FALSE(request) << row.fields;
    EXPECT_EQ(request.error().param, row.param) << row.fields;
  }
}

TEST(ParseCompletion, GivesSixteenTokensUnlessAsked) {
  EXPECT_EQ(ParseCompletion(R"({"model":"m","prompt":"a"})")->max_tokens, 16);
}

}  // namespace
}  // namespace penstock::gateway
