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
