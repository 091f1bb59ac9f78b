#include "attach/driver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>

#include "attach/testing.h"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Driver, AnswersWithExactTokensAndTheUpstreamsCountBeside) {
  FakeUpstream upstream({});
  Cloud cloud(upstream.port());
  ASSERT_TRUE(cloud.LoadAndWait());
  EXPECT_EQ(cloud.state_.context(), 4096U);
  const Heard& heard = cloud.Run(cloud.Ask(1, 5));
  EXPECT_EQ(heard.text, "abcde");
  EXPECT_THAT(heard.ids, ElementsAre('a', 'b', 'c', 'd', 'e'));
  EXPECT_EQ(heard.finish, wire::LENGTH);
  EXPECT_EQ(heard.emitted, 5U);
  ASSERT_TRUE(heard.reported);
  EXPECT_EQ(heard.reported->prompt(), 5U);
  EXPECT_EQ(heard.reported->completion(), 5U);
  EXPECT_THAT(upstream.last_body(), HasSubstr(R"("prompt":[104,101,108,108,111])"));
}

TEST(Driver, CountsByItsOwnTokenizerWhereTheUpstreamTellsTextAlone) {
  FakeUpstream upstream({.tokens = false, .ids = false, .usage = false, .sampling = false});
  Cloud cloud(upstream.port());
  ASSERT_TRUE(cloud.LoadAndWait());
  const Heard& heard = cloud.Run(cloud.Ask(1, 5));
  EXPECT_EQ(heard.text, "abcde");
  EXPECT_EQ(heard.tokens, 5U);
  EXPECT_FALSE(heard.reported);
  EXPECT_THAT(upstream.last_body(), HasSubstr(R"("prompt":"hello")"));
}

TEST(Driver, AChatGoesToAnUpstreamThatTakesNothingElse) {
  FakeUpstream upstream({.tokens = false, .text = false, .ids = false});
  Cloud cloud(upstream.port());
  ASSERT_TRUE(cloud.LoadAndWait());
  auto submit = cloud.Ask(1, 3);
  EXPECT_THAT(cloud.Run(submit).error, HasSubstr("supports only chat requests"));
  submit.set_request(2);
  submit.set_chat(R"({"messages":[{"role":"user","content":"Hi"}]})");
  EXPECT_EQ(cloud.Run(submit).text, "abc");
  EXPECT_THAT(upstream.last_body(), HasSubstr(R"("content":"Hi")"));
}

TEST(Driver, WhatTheUpstreamIgnoresIsRefusedByName) {
  FakeUpstream upstream({.ids = false, .sampling = false});
  Cloud cloud(upstream.port());
  ASSERT_TRUE(cloud.LoadAndWait());
  auto submit = cloud.Ask(1, 3);
  submit.mutable_sampling()->set_temperature(1);
  submit.mutable_sampling()->set_top_k(5);
  submit.mutable_sampling()->set_presence_penalty(1);
  submit.mutable_sampling()->set_top_logprobs(0);
  const Heard& heard = cloud.Run(submit);
  EXPECT_EQ(heard.finish, wire::ERROR);
  EXPECT_FALSE(heard.fault);
  EXPECT_TRUE(heard.unable);
  EXPECT_THAT(heard.error, HasSubstr("does not support top_k, presence_penalty, logprobs"));
  submit.set_request(2);
  submit.set_lenient(true);
  EXPECT_EQ(cloud.Run(submit).finish, wire::LENGTH);
}

TEST(Driver, WhatTheUpstreamHonoursIsPassedOn) {
  FakeUpstream upstream({});
  Cloud cloud(upstream.port());
  ASSERT_TRUE(cloud.LoadAndWait());
  auto submit = cloud.Ask(1, 3);
  submit.mutable_sampling()->set_temperature(1);
  submit.mutable_sampling()->set_top_k(5);
  submit.mutable_sampling()->set_min_p(0.1F);
  submit.mutable_sampling()->set_seed(4);
  submit.mutable_sampling()->set_repetition_penalty(1.5F);
  submit.mutable_sampling()->set_top_logprobs(1);
  EXPECT_EQ(cloud.Run(submit).logprobs, 3U);
  for (const char* field :
       {R"("top_k":5)", R"("min_p":1E-1)", R"("seed":4)", R"("repetition_penalty":1.5E0)"})
    EXPECT_THAT(upstream.last_body(), HasSubstr(field));
}

TEST(Driver, StopStringsAreFoundHereAndTheUpstreamIsLetGo) {
  FakeUpstream upstream({.pace = 2ms});
  Cloud cloud(upstream.port());
  ASSERT_TRUE(cloud.LoadAndWait());
  auto submit = cloud.Ask(1, 500);
  submit.add_stop("ef");
  const Heard& heard = cloud.Run(submit);
  EXPECT_EQ(heard.text, "abcd");
  EXPECT_EQ(heard.stop, "ef");
  EXPECT_EQ(heard.finish, wire::STOP);
  EXPECT_EQ(heard.emitted, 6U);
  EXPECT_TRUE(cloud.RunUntil([&] { return upstream.broken() == 1; }));
  EXPECT_LT(upstream.tokens_sent(), 400);
}

TEST(Driver, ALimitOverAllChoicesIsAppliedOnOurSide) {
  for (const bool ids : {true, false}) {
    FakeUpstream upstream({.ids = ids, .pace = 1ms});
    Cloud cloud(upstream.port());
    ASSERT_TRUE(cloud.LoadAndWait());
    auto submit = cloud.Ask(1, 500);
    submit.set_choices(2);
    submit.set_limit(9);
    cloud.Run(submit);
    ASSERT_TRUE(cloud.RunUntil([&] { return cloud.heard_[{1, 1}].finish != wire::NONE; }));
    const Heard &first = cloud.heard_[{1, 0}], &second = cloud.heard_[{1, 1}];
    EXPECT_EQ(first.tokens + second.tokens, 9U) << ids;
    EXPECT_EQ(first.finish, wire::LENGTH);
    EXPECT_EQ(second.finish, wire::LENGTH);
    EXPECT_TRUE(cloud.RunUntil([&] { return upstream.broken() == 2; })) << "the upstream still works";

    cloud.Send(cloud.Ask(2, 5000));
    Heard& heard = cloud.heard_[{2, 0}];
    ASSERT_TRUE(cloud.RunUntil([&] { return heard.tokens > 3; }));
    wire::ToEngine lower;
    lower.mutable_limit()->set_request(2);
    lower.mutable_limit()->set_tokens(2);
    cloud.driver_.Handle(lower);
    ASSERT_TRUE(cloud.RunUntil([&] { return heard.finish == wire::LENGTH; }));
    EXPECT_LT(heard.tokens, 100U);
  }
}

TEST(Driver, ACancelledRequestStopsTheUpstreamsWork) {
  FakeUpstream upstream({.pace = 2ms});
  Cloud cloud(upstream.port());
  ASSERT_TRUE(cloud.LoadAndWait());
  cloud.Send(cloud.Ask(1, 5000));
  Heard& heard = cloud.heard_[{1, 0}];
  ASSERT_TRUE(cloud.RunUntil([&] { return heard.tokens > 3; }));
  wire::ToEngine cancel;
  cancel.mutable_cancel()->set_request(1);
  cloud.driver_.Handle(cancel);
  ASSERT_TRUE(cloud.RunUntil([&] { return heard.finish == wire::CANCELLED; }));
  EXPECT_TRUE(cloud.RunUntil([&] { return upstream.broken() == 1; }));
  EXPECT_EQ(cloud.driver_.Load().running(), 0U);
}

TEST(Driver, NoMoreIsReadThanTheReaderGranted) {
  FakeUpstream upstream({});
  Cloud cloud(upstream.port());
  ASSERT_TRUE(cloud.LoadAndWait());
  auto submit = cloud.Ask(1, 20'000);
  submit.set_credits(10);
  cloud.Send(submit);
  Heard& heard = cloud.heard_[{1, 0}];
  ASSERT_TRUE(cloud.RunUntil([&] { return heard.tokens >= 10; }));
  cloud.io_.run_for(50ms);
  const uint32_t held = heard.tokens;
  EXPECT_LT(held, 2000U);  // what one piece of the stream held
  cloud.io_.run_for(50ms);
  EXPECT_EQ(heard.tokens, held);
  wire::ToEngine credit;
  credit.mutable_credit()->set_request(1);
  credit.mutable_credit()->set_tokens(50'000);
  cloud.driver_.Handle(credit);
  EXPECT_TRUE(cloud.RunUntil([&] { return heard.finish == wire::LENGTH; }));
  EXPECT_EQ(heard.tokens, 20'000U);
}

TEST(Driver, GoesOnWhereAnotherEngineLeftIt) {
  FakeUpstream upstream({});
  Cloud cloud(upstream.port());
  ASSERT_TRUE(cloud.LoadAndWait());
  auto submit = cloud.Ask(1, 5);
  wire::Resume& resume = *submit.add_resume();
  resume.add_ids('x');
  resume.add_ids('y');
  const Heard& heard = cloud.Run(submit);
  EXPECT_EQ(heard.text, "abc");
  EXPECT_EQ(heard.emitted, 5U);
  EXPECT_THAT(upstream.last_body(), HasSubstr("111,120,121]"));
  EXPECT_THAT(upstream.last_body(), HasSubstr(R"("max_tokens":3)"));
}

TEST(Driver, EveryChoiceIsARequestOfItsOwnWithItsOwnSeed) {
  FakeUpstream upstream({});
  Cloud cloud(upstream.port());
  ASSERT_TRUE(cloud.LoadAndWait());
  auto submit = cloud.Ask(1, 3);
  submit.set_choices(3);
  submit.mutable_sampling()->set_temperature(2);
  submit.mutable_sampling()->set_seed(1);
  cloud.Send(submit);
  EXPECT_TRUE(cloud.RunUntil([&] {
    return cloud.heard_[{1, 0}].finish != 0 && cloud.heard_[{1, 1}].finish != 0 &&
           cloud.heard_[{1, 2}].finish != 0;
  }));
  EXPECT_EQ((cloud.heard_[{1, 0}].text), "bcd");
  EXPECT_EQ((cloud.heard_[{1, 1}].text), "cde");
  EXPECT_EQ((cloud.heard_[{1, 2}].text), "def");
}

TEST(Driver, AnswersThatAreNoneEndInWords) {
  const std::string events = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
  const std::string token = R"(data: {"choices":[{"text":"a","token_ids":[97]}]})"
                            "\n\n";
  struct Row {
    std::string answer, words;
    bool fault;
  };
  const std::vector<Row> rows = {
      {"HTTP/1.1 502 Bad\r\nContent-Type: text/html\r\n\r\n<html>down for tea</html>",
       "502: <html>down for tea", true},
      {"HTTP/1.1 400 Bad\r\nContent-Length: 27\r\n\r\n{\"error\":\"no such sampler\"}",
       "400: no such sampler", false},
      {"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>", "text/html, not with a stream of events",
       true},
      {"nonsense\r\n\r\n", "not HTTP", true},
      {events + "data: {\"choi\n\n", "not a JSON object", true},
      {events + token + R"(data: {"error":{"message":"out of memory"}})" + "\n\n", "out of memory", true},
      {events + token, "without a finish_reason", true},
      {"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 5000\r\n\r\n" + token,
       "during its answer", true},
      {events + "data: " + std::string(5 << 20, 'x'), "more than 4 MB", true},
      {"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", "no 'choices'",
       true},
  };
  std::atomic<size_t> row = 0;  // read by the threads of the fake server
  std::atomic<bool> on = false;
  FakeUpstream::Manners manners;
  manners.instead = [&] { return on ? rows[row].answer : std::string(); };
  FakeUpstream upstream(manners);
  Cloud cloud(upstream.port());
  ASSERT_TRUE(cloud.LoadAndWait());
  on = true;
  for (; row < rows.size(); ++row) {
    ASSERT_TRUE(cloud.RunUntil([&] { return cloud.state_.state() == wire::ModelState::READY; }));
    const Heard& heard = cloud.Run(cloud.Ask(row + 1, 5));
    EXPECT_EQ(heard.finish, wire::ERROR) << row;
    EXPECT_THAT(heard.error, HasSubstr(rows[row].words)) << row;
    EXPECT_EQ(heard.fault, rows[row].fault) << row;
    EXPECT_EQ(heard.unable, !rows[row].fault) << row;
  }
}

TEST(Driver, AnUpstreamWithoutRoomIsAskedAgainAndGivenLess) {
  std::atomic<int> refusals = 0;
  FakeUpstream::Manners manners;
  manners.instead = [&] {
    return refusals.fetch_add(1) < 3
               ? "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"
               : "";
  };
  FakeUpstream upstream(manners);
  refusals = 10;
  Cloud cloud(upstream.port());
  ASSERT_TRUE(cloud.LoadAndWait());
  const uint32_t before = cloud.driver_.Load().max_sequences();
  refusals = 0;
  EXPECT_EQ(cloud.Run(cloud.Ask(1, 5)).text, "abcde");
  EXPECT_LT(cloud.driver_.Load().max_sequences(), before);
}

TEST(Driver, ModelsFailInWordsWhileTheUpstreamIsAwayAndAreReadyWhenItIsBack) {
  auto upstream = std::make_unique<FakeUpstream>(FakeUpstream::Manners{});
  const uint16_t port = upstream->port();
  Cloud cloud(port);
  ASSERT_TRUE(cloud.LoadAndWait());
  upstream.reset();
  ASSERT_TRUE(cloud.RunUntil([&] { return cloud.state_.state() == wire::ModelState::FAILED; }));
  EXPECT_THAT(cloud.state_.error().text(), HasSubstr("cannot connect"));
  upstream = std::make_unique<FakeUpstream>(FakeUpstream::Manners{}, port);
  ASSERT_TRUE(cloud.RunUntil([&] { return cloud.state_.state() == wire::ModelState::READY; }));
  EXPECT_EQ(cloud.Run(cloud.Ask(1, 2)).text, "ab");
}

TEST(Driver, AnUpstreamThatDiesAmidAnAnswerEndsItWithAnError) {
  auto upstream = std::make_unique<FakeUpstream>(FakeUpstream::Manners{.pace = 2ms});
  Cloud cloud(upstream->port());
  ASSERT_TRUE(cloud.LoadAndWait());
  cloud.Send(cloud.Ask(1, 5000));
  Heard& heard = cloud.heard_[{1, 0}];
  ASSERT_TRUE(cloud.RunUntil([&] { return heard.tokens > 3; }));
  upstream.reset();
  ASSERT_TRUE(cloud.RunUntil([&] { return heard.finish != wire::NONE; }));
  EXPECT_EQ(heard.finish, wire::ERROR);
  EXPECT_TRUE(heard.fault);
}

TEST(Driver, AModelThatTheUpstreamDoesNotServeIsToldWithWhatItDoes) {
  FakeUpstream upstream({.models = "other"});
  Cloud cloud(upstream.port());
  ASSERT_TRUE(cloud.LoadAndWait(wire::ModelState::FAILED));
  ASSERT_TRUE(cloud.RunUntil([&] { return cloud.state_.error().text().find("lists") != std::string::npos; }));
  EXPECT_THAT(cloud.state_.error().text(), HasSubstr("serves no model 'm'; it lists: other"));
  DriverOptions named = Cloud::Quick();
  named.names["m"] = "unlisted";  // by somebody who knows better
  Cloud third(upstream.port(), named);
  EXPECT_TRUE(third.LoadAndWait());
  DriverOptions mapped = Cloud::Quick();
  mapped.names["m"] = "*";
  Cloud second(upstream.port(), mapped);
  EXPECT_TRUE(second.LoadAndWait());
}

TEST(Driver, NoMoreRunThanTheLimitAndNoneIsLost) {
  FakeUpstream upstream({.pace = 1ms});
  DriverOptions options = Cloud::Quick();
  options.concurrency.most = 6;
  Cloud cloud(upstream.port(), options);
  ASSERT_TRUE(cloud.LoadAndWait());
  for (uint64_t id = 1; id <= 32; ++id) cloud.Send(cloud.Ask(id, 10));
  ASSERT_TRUE(cloud.RunUntil([&] {
    return cloud.heard_.size() == 32 && std::ranges::all_of(cloud.heard_, [](const auto& one) {
             return one.second.finish == wire::LENGTH;
           });
  }));
  EXPECT_LE(upstream.most_at_once(), 6);
}

TEST(Driver, WhatAServerDoesUnaskedIsSwitchedOff) {
  FakeUpstream upstream({.own_penalty = true});
  Cloud cloud(upstream.port());
  ASSERT_TRUE(cloud.LoadAndWait());
  EXPECT_EQ(cloud.Run(cloud.Ask(1, 10)).text, "abcdefghij");
  wire::Submit hot = cloud.Ask(2, 10);
  hot.mutable_sampling()->set_temperature(0.5);
  cloud.Run(hot);
  const auto body = boost::json::parse(upstream.last_body()).as_object();
  EXPECT_EQ(body.at("repetition_penalty").to_number<int>(), 1);
  EXPECT_EQ(body.at("top_p").to_number<int>(), 1);
  EXPECT_EQ(body.at("top_k").to_number<int>(), 0);
  EXPECT_EQ(body.at("min_p").to_number<int>(), 0);
}

TEST(Driver, AServerThatBreaksOffAnswersForOthersIsGivenOneAtATime) {
  FakeUpstream upstream({.pace = 1ms, .interrupts = true});
  Cloud cloud(upstream.port());
  ASSERT_TRUE(cloud.LoadAndWait());
  EXPECT_EQ(cloud.driver_.Load().max_sequences(), 1U);
  constexpr uint64_t kRequests = 4;
  for (uint64_t id = 1; id <= kRequests; ++id) cloud.Send(cloud.Ask(id, 100));
  ASSERT_TRUE(cloud.RunUntil([&] {
    return cloud.heard_.size() == kRequests &&
           std::ranges::all_of(cloud.heard_, [](const auto& one) { return one.second.finish != wire::NONE; });
  }));
  for (const auto& [id, heard] : cloud.heard_) EXPECT_EQ(heard.text.size(), 100U) << heard.error;
}

TEST(Driver, ADrainLetsWhatRunsEnd) {
  FakeUpstream upstream({.pace = 1ms});
  Cloud cloud(upstream.port());
  ASSERT_TRUE(cloud.LoadAndWait());
  cloud.Send(cloud.Ask(1, 30));
  bool drained = false;
  cloud.driver_.Drain([&] { drained = true; });
  EXPECT_FALSE(drained);
  EXPECT_TRUE(cloud.RunUntil([&] { return drained; }));
  EXPECT_EQ((cloud.heard_[{1, 0}].text.size()), 30U);
}

TEST(Driver, ADiscoveryTellsWhatIsHonouredFromWhatIsTaken) {
  boost::asio::io_context io;
  const auto ask = [&](const FakeUpstream::Manners& manners) {
    FakeUpstream upstream(manners);
    std::string text;
    {
      Cloud cloud(upstream.port());
      EXPECT_TRUE(cloud.LoadAndWait());
      wire::Submit submit = cloud.Ask(1, 1);
      submit.mutable_sampling()->set_temperature(1);
      submit.mutable_sampling()->set_min_p(0.5F);
      submit.mutable_sampling()->set_frequency_penalty(0.5F);
      submit.set_ignore_eos(true);
      text = cloud.Run(submit).error;
    }
    return text;
  };
  EXPECT_EQ(ask({}), "");
  EXPECT_THAT(ask({.sampling = false}), HasSubstr("min_p, frequency_penalty, ignore_eos"));
}

}  // namespace
}  // namespace penstock
