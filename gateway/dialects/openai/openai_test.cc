#include "gateway/dialects/openai/openai.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "gateway/dialects/openai/errors.h"
#include "gateway/dialects/openai/field_table.h"
#include "gateway/dialects/openai/fields.h"
#include "model/files/file.h"

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
        Row{R"(,"n":17)", "n"},
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
        Row{R"(,"add_generation_prompt":false)", "add_generation_prompt"},
        Row{R"(,"chat_template":"{{ 1 }}")", "chat_template"}, Row{R"(,"mirostat":2)", "mirostat"},
        Row{R"(,"lora":[{"id":0}])", "lora"}, Row{R"(,"verbosity":"low")", "verbosity"},
        Row{R"(,"typical_p":0.9)", "typical_p"},
        Row{R"(,"skip_special_tokens":false)", "skip_special_tokens"},
        Row{R"(,"options":{"num_ctx":1})", "options"}}) {
    const ApiError error = Refused(row.more);
    EXPECT_EQ(OpenAiErrorOf(error).status, 400) << row.more;
    EXPECT_EQ(OpenAiErrorOf(error).code, "unsupported_parameter") << row.more;
    EXPECT_EQ(error.param, row.param) << row.more;
  }
}

TEST(ParseChat, LetsPassWhatIsEmptyOrHarmless) {
  const ChatRequest request = Parsed(
      R"(,"tools":[],"tool_choice":"auto","response_format":{"type":"text"},"store":true,"metadata":{"a":"b"},"user":"u","safety_identifier":"s","prompt_cache_key":"k","service_tier":"auto","parallel_tool_calls":true,"min_tokens":0,"modalities":["text"],"mirostat":0,"typical_p":1.0,"skip_special_tokens":true,"verbosity":"medium")");
  EXPECT_TRUE(request.ignored.empty());
}

TEST(ParseChat, ListsWhatItIgnored) {
  const ChatRequest request = Parsed(R"(,"foo":1,"thinking_budget":100,"service_tier":"flex")");
  EXPECT_THAT(request.ignored, ::testing::UnorderedElementsAre("foo", "thinking_budget", "service_tier"));
}

std::string NameOf(const FieldRow& row) {
  return fmt::format("`{}`{}", row.name,
                     row.where == Endpoint::kChat          ? " (chat)"
                     : row.where == Endpoint::kCompletions ? " (completions)"
                                                           : "");
}

std::string NoteOf(const FieldRow& row) {
  if (row.harmless.empty()) return std::string(row.note);
  const std::string accepted = fmt::format("accepted: `{}`", row.harmless);
  return row.note.empty() ? accepted : fmt::format("{}; {}", row.note, accepted);
}

// The rows of one treatment as docs/api.md shows them: those with a note in a table, then the others.
std::string Section(std::string_view head, FieldRow::Treatment treatment) {
  std::string table, others;
  for (const FieldRow& row : FieldTable()) {
    if (row.treatment != treatment) continue;
    const std::string note = NoteOf(row);
    if (note.empty()) {
      others += (others.empty() ? "" : ", ") + NameOf(row);
    } else {
      table += fmt::format("| {} | {} |\n", NameOf(row), note);
    }
  }
  if (!table.empty()) table = "\n| Field | |\n|---|---|\n" + table;
  if (!others.empty()) others = (table.empty() ? "\n" : "\nAlso ") + others + ".\n";
  return fmt::format("\n{}\n{}{}", head, table, others);
}

std::string FieldsPage() {
  using enum FieldRow::Treatment;
  return Section("**Honoured**", kHonoured) +
         Section(
             "**Refused by name**, unless the value asks for nothing: null, false, 0, empty, or what is "
             "accepted here",
             kRefused) +
         Section("**No effect on the answer**", kNoEffect) +
         Section(
             "**Ignored, and named in `x-penstock-ignored`**, as are all fields that are not in these tables",
             kIgnored) +
         "\n";
}

TEST(FieldTable, IsWhatTheDocsSay) {
  const std::string path = std::string(PENSTOCK_SOURCE_DIR) + "/docs/api.md";
  const auto text = ReadSmallFile(path, 1 << 20);
  ASSERT_TRUE(text.has_value()) << text.error().message;
  constexpr std::string_view kBegin = "<!-- table fields -->\n";
  const size_t from = text->find(kBegin), to = text->find("<!-- end -->", from);
  ASSERT_NE(to, std::string::npos);
  std::string page = *text;
  page.replace(from, to - from, std::string(kBegin) + FieldsPage());
  if (std::getenv("PENSTOCK_WRITE_DOCS") != nullptr) std::ofstream(path) << page;
  EXPECT_TRUE(page == *text) << "write it again: PENSTOCK_WRITE_DOCS=1 build/release/gateway/gateway_test "
                                "--gtest_filter=FieldTable.*";
}

// A value of the wrong kind is a fault only where a parser reads the field.
TEST(FieldTable, AParserReadsEachFieldThatIsHonoured) {
  for (const FieldRow& row : FieldTable()) {
    if (row.treatment != FieldRow::Treatment::kHonoured || row.name == "model") continue;
    const auto body = [&](std::string_view needed) {
      return fmt::format(R"({{"model":"m"{},"{}":{{"odd":[]}}}})", needed, row.name);
    };
    if (row.name == "logit_bias" || row.name == "chat_template_kwargs") continue;  // objects: tested above
    if (row.where != Endpoint::kCompletions) {
      const bool is_message = row.name == "messages";
      const auto request =
          ParseChat(body(is_message ? "" : R"(,"messages":[{"role":"user","content":"a"}])"));
      EXPECT_FALSE(request.has_value()) << row.name;
    }
    if (row.where != Endpoint::kChat) {
      const auto request = ParseCompletion(body(row.name == "prompt" ? "" : R"(,"prompt":"a")"));
      EXPECT_FALSE(request.has_value()) << row.name;
    }
  }
}

TEST(FieldTable, EachRefusedFieldIsRefusedByNameAndEachHarmlessValuePasses) {
  for (const FieldRow& row : FieldTable()) {
    if (row.treatment != FieldRow::Treatment::kRefused) continue;
    const auto parse = [&](std::string_view value) {
      return row.where == Endpoint::kCompletions
                 ? ParseCompletion(fmt::format(R"({{"model":"m","prompt":"a","{}":{}}})", row.name, value))
                 : ParseChat(
                       fmt::format(R"({{"model":"m","messages":[{{"role":"user","content":"a"}}],"{}":{}}})",
                                   row.name, value));
    };
    const auto refused = parse("[7]");
    ASSERT_FALSE(refused.has_value()) << row.name;
    EXPECT_EQ(refused.error().param, row.name);
    EXPECT_EQ(OpenAiErrorOf(refused.error()).code, "unsupported_parameter") << row.name;
    EXPECT_TRUE(parse("null").has_value()) << row.name;
    const json::value harmless = json::parse(fmt::format("[{}]", row.harmless));
    for (const json::value& value : harmless.get_array()) {
      const auto passed = parse(json::serialize(value));
      ASSERT_TRUE(passed.has_value()) << row.name;
      EXPECT_TRUE(passed->ignored.empty()) << row.name;
    }
  }
}

TEST(FieldTable, NamesAFieldOncePerEndpoint) {
  for (const FieldRow& row : FieldTable()) {
    EXPECT_EQ(std::ranges::count_if(FieldTable(),
                                    [&](const FieldRow& other) {
                                      return other.name == row.name && (static_cast<int>(other.where) &
                                                                        static_cast<int>(row.where)) != 0;
                                    }),
              1)
        << row.name;
  }
}

TEST(ParseChat, KnowsOtherServersNamesOfOurFields) {
  EXPECT_FLOAT_EQ(Parsed(R"(,"repeat_penalty":1.5)").sampling.repetition_penalty(), 1.5);
  EXPECT_FLOAT_EQ(Parsed(R"(,"repeat_penalty":1.5,"repetition_penalty":1.2)").sampling.repetition_penalty(),
                  1.2);
  EXPECT_EQ(Parsed(R"(,"think":false)").template_members, R"(,"enable_thinking":false)");
  EXPECT_EQ(Parsed(R"(,"thinking":{"type":"disabled"})").template_members, R"(,"enable_thinking":false)");
  EXPECT_EQ(Refused(R"(,"thinking":{"type":"auto"})").param, "thinking.type");
}

TEST(ParseChat, AnAnswerMayContinueTheLastMessage) {
  const auto parse = [](std::string_view last, std::string_view more) {
    return ParseChat(
        fmt::format(R"({{"model":"m","messages":[{{"role":"user","content":"a"}},{}]{}}})", last, more));
  };
  const std::string_view plain = R"({"role":"assistant","content":"b"})";
  const auto request = parse(plain, R"(,"continue_final_message":true,"add_generation_prompt":false)");
  ASSERT_TRUE(request.has_value()) << request.error().message;
  EXPECT_TRUE(request->continues);
  EXPECT_EQ(
      request->messages,
      fmt::format(R"([{{"role":"user","content":"a"}},{{"role":"assistant","content":"b{}"}}])", kPrefixEnd));
  EXPECT_EQ(parse(R"({"role":"assistant","content":"b","prefix":true})", "")->messages, request->messages);
  EXPECT_EQ(parse(R"({"role":"assistant","content":"b","partial":true})", "")->messages, request->messages);
  EXPECT_FALSE(parse(plain, "")->continues);
  EXPECT_EQ(parse(R"({"role":"user","content":"b"})", R"(,"continue_final_message":true)").error().param,
            "messages[1].role");
  EXPECT_EQ(parse(plain, R"(,"continue_final_message":true,"add_generation_prompt":true)").error().param,
            "add_generation_prompt");
  EXPECT_EQ(
      RefusedMessages(R"([{"role":"assistant","content":"b","prefix":true},{"role":"user","content":"a"}])")
          .param,
      "messages[0].prefix");
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
