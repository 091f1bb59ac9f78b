#include "gateway/request/prompt.h"

#include <gtest/gtest.h>

#include "gateway/testing.h"

namespace penstock::gateway {
namespace {

using testing::Chat;
using testing::Client;
using testing::World;

class CountingTokenizer final : public Tokenizer {
 public:
  Result<std::vector<Token>> Encode(std::string_view text, bool special) const override {
    ++calls;
    return bytes_.Encode(text, special);
  }
  Result<std::vector<Token>> EncodeControls(std::string_view text, std::span<const Control>) const override {
    return Encode(text, true);
  }
  std::string_view Bytes(Token token) const override { return bytes_.Bytes(token); }
  std::string_view Piece(Token token) const override { return bytes_.Piece(token); }
  int32_t size() const override { return bytes_.size(); }
  bool IsControl(Token) const override { return false; }
  std::string_view backend() const override { return "bytes"; }
  mutable int calls = 0;

 private:
  testing::ByteTokenizer bytes_;
};

TEST(Prompt, TextThatCannotFitIsRefusedWithoutTokenisingIt) {
  ModelText text;
  auto tokenizer = std::make_unique<CountingTokenizer>();
  const CountingTokenizer& counting = *tokenizer;
  text.tokenizer = std::move(tokenizer);
  text.chat = std::make_unique<testing::PlainTemplate>("");
  text.longest_token = 4;
  ChatRequest request;
  request.kind = ChatRequest::Kind::kCompletion;
  request.prompts.push_back({std::string(4 * 100, 'x'), {}, false});
  const auto refused = EncodePrompts(text, request, 100);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().reason, Reason::kContextTooLong);
  EXPECT_NE(refused.error().message.find("at least 100 tokens"), std::string::npos)
      << refused.error().message;
  request.kind = ChatRequest::Kind::kChat;
  request.messages = R"([{"role":"user","content":")" + std::string(4 * 100, 'x') + R"("}])";
  EXPECT_EQ(EncodePrompts(text, request, 100).error().reason, Reason::kContextTooLong);
  EXPECT_EQ(counting.calls, 0);
  // What may fit is counted.
  EXPECT_EQ(EncodePrompts(text, request, 200).error().reason, Reason::kContextTooLong);
  EXPECT_EQ(counting.calls, 1);
  EXPECT_TRUE(EncodePrompts(text, request, 1000).has_value());
}

// Writes <<content>> of the last message, trimmed or not.
class LastMessage final : public ChatTemplate {
 public:
  explicit LastMessage(bool trims) : trims_(trims) {}
  Result<std::string> Render(std::string_view context_json) const override {
    const auto context = boost::json::parse(context_json);
    std::string text(context.at("messages").as_array().back().at("content").as_string());
    if (trims_) text = text.substr(text.find_first_not_of(' '), text.find_last_not_of(' ') + 1);
    return "<<" + text + ">>";
  }

 private:
  bool trims_;
};

TEST(Prompt, IsCutWhereTheMessageEndsThatTheAnswerContinues) {
  const auto prompt = [](bool trims, std::string_view content) {
    ModelText text;
    text.tokenizer = std::make_unique<testing::ByteTokenizer>();
    text.chat = std::make_unique<LastMessage>(trims);
    ChatRequest request;
    request.messages = fmt::format(R"([{{"role":"assistant","content":"{}{}"}}])", content, kPrefixEnd);
    request.continues = true;
    const auto encoded = EncodePrompts(text, request, 0);
    EXPECT_TRUE(encoded.has_value());
    std::string shown;
    for (const Token token : encoded->prompts.at(0)) shown += text.tokenizer->Bytes(token);
    return shown;
  };
  EXPECT_EQ(prompt(false, "The answer: "), "<<The answer: ");
  EXPECT_EQ(prompt(true, "The answer: "), "<<The answer:");  // as the template would have written it
  EXPECT_EQ(prompt(false, ""), "<<");
}

TEST(Prompt, AnAnswerHasTheTokensThatAreAllowedAndFit) {
  const TokensByModel limits{.general = 100, .by_model = {{"big", 1000}, {"none", 0}}};
  EXPECT_EQ(limits.Of("other"), 100);
  EXPECT_EQ(limits.Of("big"), 1000);
  EXPECT_EQ(limits.Of("big:q4"), 1000);
  EXPECT_EQ(limits.Of("none"), 0);
  EXPECT_EQ(OutputTokens(0, 100, 0, 5000), 100);
  EXPECT_EQ(OutputTokens(0, 0, 0, 5000), 5000);
  EXPECT_EQ(OutputTokens(0, 100, 50, 5000), 50);
  EXPECT_EQ(OutputTokens(700, 100, 0, 5000), 700);
  EXPECT_EQ(OutputTokens(700, 100, 500, 5000), 500);
  EXPECT_EQ(OutputTokens(7000, 100, 0, 5000), 5000);
}

std::string Saying(std::string_view content) {
  return fmt::format(R"({{"model":"tiny","messages":[{{"role":"user","content":"{}"}}]}})", content);
}

// "sleep" keeps a template busy for a second (test_fakes.h).
TEST(Prompt, WorkOfOneTeamLeavesAThreadToTheOthers) {
  World world;
  world.Do([&] { world.fleet.AnswerWith({"Hello"}); });
  std::vector<std::unique_ptr<Client>> slow;
  for (int i = 0; i < 6; ++i) {
    slow.push_back(std::make_unique<Client>(world.port));
    slow.back()->Post("/v1/chat/completions", Saying("sleep"), "key-a");
  }
  Client other(world.port);
  const Nanos begin = SystemClock().Monotonic();
  for (int i = 0; i < 5; ++i) {
    other.Post("/v1/chat/completions", Chat(), "operator");
    EXPECT_EQ(other.Read().status, 200);
  }
  EXPECT_LT(SystemClock().Monotonic() - begin, 900 * kMillisecond);
}

TEST(Prompt, WorkForClientsThatLeftIsDropped) {
  World world;
  world.Do([&] { world.fleet.AnswerWith({"Hello"}); });
  {
    std::vector<std::unique_ptr<Client>> leaving;
    for (int i = 0; i < 20; ++i) {
      leaving.push_back(std::make_unique<Client>(world.port));
      leaving.back()->Post("/v1/chat/completions", Saying("sleep"), "key-a");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  Client last(world.port);
  const Nanos begin = SystemClock().Monotonic();
  last.Post("/v1/chat/completions", Chat(), "key-a");
  EXPECT_EQ(last.Read().status, 200);
  // Two were being rendered; the eighteen that waited took no time.
  EXPECT_LT(SystemClock().Monotonic() - begin, 3 * kSecond);
}

}  // namespace
}  // namespace penstock::gateway
