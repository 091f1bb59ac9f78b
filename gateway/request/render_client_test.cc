#include "gateway/request/render_client.h"

#include <gtest/gtest.h>

#include <string>

#include "text/text.h"

namespace penstock::gateway {
namespace {

constexpr std::string_view kHello = R"({"messages":[{"role":"user","content":"hello"}]})";
constexpr std::string_view kExplode = R"({"messages":[{"role":"user","content":"explode"}]})";

struct Rendering {
  // A call with `context`; its outcome goes to `outcomes`: the text, "again", or the error.
  void Add(const ChatTemplate& chat, std::string_view context) {
    ++pending;
    client.Add(*chat.source(), std::string(context), [this](std::optional<Result<std::string>> result) {
      outcomes.push_back(!result ? "again" : *result ? **result : result->error().message);
      if (--pending == 0) io.stop();
    });
  }
  void Run() {
    io.restart();
    io.run();
  }
  int Count(std::string_view outcome) const {
    return static_cast<int>(std::ranges::count(outcomes, outcome));
  }

  boost::asio::io_context io{1};
  RenderClient client{io, SystemClock()};
  std::vector<std::string> outcomes;
  int pending = 0;
  std::unique_ptr<ChatTemplate> good = *CompileTemplate("{{ messages[0].content }}!");
  std::unique_ptr<ChatTemplate> bad = *CompileTemplate(
      "{% set ns = namespace(x=[messages]) %}{% if messages[0].content == 'explode' %}{% for a in range(40) "
      "%}"
      "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{% endif %}{{ ns.x|tojson|length }}");
};

TEST(RenderClient, ManyCallsAtOnceAreAllAnswered) {
  Rendering rendering;
  const std::string large(60'000, 'x');  // together more than a socket holds
  for (int i = 0; i < 100; ++i) {
    rendering.Add(*rendering.good, R"({"messages":[{"role":"user","content":")" + large + R"("}]})");
  }
  rendering.Run();
  EXPECT_EQ(rendering.Count(large + "!"), 100);
}

TEST(RenderClient, ATemplateThatExplodesCostsTheOthersNothingButTime) {
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
  GTEST_SKIP() << "with a sanitizer even the start of a process may use more time than a call may";
#endif
  Rendering rendering;
  for (int i = 0; i < 10; ++i) rendering.Add(*rendering.good, kHello);
  rendering.Add(*rendering.bad, kExplode);
  for (int i = 0; i < 10; ++i) rendering.Add(*rendering.good, kHello);
  rendering.Run();
  EXPECT_EQ(rendering.Count("hello!"), 20);
  EXPECT_EQ(rendering.Count("again"), 1);
  EXPECT_TRUE(rendering.client.Takes(*rendering.good->source()));
  EXPECT_FALSE(rendering.client.Takes(*rendering.bad->source()));
}

TEST(RenderClient, ATemplateThatRefusesTheConversationAnswersWithItsError) {
  Rendering rendering;
  const auto strict = *CompileTemplate("{{ raise_exception('roles must alternate') }}");
  rendering.Add(*strict, kHello);
  rendering.Run();
  ASSERT_EQ(rendering.outcomes.size(), 1U);
  EXPECT_NE(rendering.outcomes[0].find("roles must alternate"), std::string::npos);
  EXPECT_TRUE(rendering.client.Takes(*strict->source()));
}

TEST(RenderClient, CallsInFlightAreDroppedWithTheirClient) {
  auto rendering = std::make_unique<Rendering>();
  const auto held = std::make_shared<int>(1);
  rendering->client.Add(*rendering->good->source(), std::string(kHello), [held](auto) {});
  rendering->io.poll();
  rendering.reset();
  EXPECT_EQ(held.use_count(), 1);
}

}  // namespace
}  // namespace penstock::gateway
