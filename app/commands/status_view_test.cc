#include "app/commands/status_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fmt/format.h>

#include <algorithm>

namespace penstock {
namespace {

namespace json = boost::json;
using testing::HasSubstr;
using testing::Not;

constexpr std::string_view kStatus = R"({"version":"0.1.0","uptime_s":125,"ready":true,"reason":"",
  "draining":false,"store":{"healthy":true,"fault":""},
  "disk":{"path":"/data","bytes":100000000000,"free_bytes":40000000000},
  "log":{"gateway":{"level":"debug","for_seconds":60},"engine":{"level":"info","for_seconds":0}},
  "warnings":[{"at":1700000000.5,"level":"warning","text":"engine cpu0 is gone: connection reset"}],
  "tokens":1000,"tokens_per_second":812.4,"open_streams":15,"connections":40,"running":12,"waiting":3,
  "engines":[{"name":"cpu0","runner":"native","chip":"2 cores","kernel":"avx512","connected":true,
    "memory_bytes":4000000000,"resident_bytes":1000000000,"running":12,"waiting":0,"preemptions":1,
    "computed_tokens":5000,
    "models":[{"name":"small","state":"ready","context":8192,"pages":512,"weight_bytes":98000000}]}],
  "models":[{"name":"small","served":true,"ready":true,"error":""},
            {"name":"broken","served":true,"ready":false,"error":"it is cut short"}],
  "queue":[{"team":"blue","waiting":0,"running":2,"chip_ms":500,"tokens":400},
           {"team":"red","waiting":3,"running":10,"chip_ms":1500,"tokens":600}]})";

json::object Status() {
  return json::parse({kStatus.data(), kStatus.size()}).get_object();
}

json::object& Item(json::object& status, std::string_view list, size_t index) {
  return status[list].get_array()[index].get_object();
}

size_t Lines(const std::string& text) {
  return static_cast<size_t>(std::ranges::count(text, '\n'));
}

size_t Widest(const std::string& text) {
  size_t widest = 0, width = 0;
  for (const char c : text) {
    width = c == '\n' ? 0 : width + ((c & 0xC0) != 0x80);
    widest = std::max(widest, width);
  }
  return widest;
}

// ---- status ----

TEST(StatusText, ATypicalCloudIsOneScreen) {
  const std::string text = StatusText(Status(), "http://h:1", 80);
  EXPECT_LE(Lines(text), 24u) << text;
  EXPECT_LE(Widest(text), 80u) << text;
  EXPECT_THAT(text, HasSubstr("http://h:1 is ready, up for 2 min 5 s (Penstock 0.1.0)"));
  EXPECT_THAT(text, HasSubstr("12 running, 3 waiting, 15 open streams, 40 connections, 812 tokens/s"));
  EXPECT_THAT(text, HasSubstr("[##......] 1.0 of 4.0 GB"));
  EXPECT_THAT(text, HasSubstr("healthy; 40.0 GB of 100 GB free at /data"));
  EXPECT_THAT(text, HasSubstr("gateway debug for 1 min 0 s more, engines info"));
  EXPECT_THAT(text, HasSubstr("engine cpu0 is gone"));
}

TEST(StatusText, ModelsThatAreNotReadyComeFirst) {
  const std::string text = StatusText(Status(), "u", 100);
  EXPECT_LT(text.find("broken"), text.find("small")) << text;
  EXPECT_THAT(text, HasSubstr("it is cut short"));
  EXPECT_LT(text.find("red"), text.find("blue")) << text;
  json::object stopped = Status();
  stopped["store"] = {{"healthy", false}, {"fault", "the disk is full"}};
  stopped["ready"] = false;
  stopped["reason"] = "no engine is connected";
  stopped["engines"] = json::array();
  const std::string bad = StatusText(stopped, "u", 100);
  EXPECT_THAT(
      bad,
      HasSubstr("u is not ready, up for 2 min 5 s (Penstock 0.1.0)\nnot ready: no engine is connected\n"));
  EXPECT_THAT(bad, HasSubstr("CANNOT BE WRITTEN: the disk is full"));
}

TEST(StatusText, ManyModelsAndTeamsAreCountedNotListed) {
  json::object status = Status();
  for (int i = 0; i < 40; ++i) {
    status["models"].get_array().push_back(json::object{{"name", fmt::format("m{}", i)}, {"served", true}});
    status["queue"].get_array().push_back(json::object{{"team", fmt::format("t{}", i)}});
  }
  const std::string text = StatusText(status, "u", 80);
  EXPECT_LE(Lines(text), 30u);
  EXPECT_THAT(text, HasSubstr("and 37 more: penstock model ls"));
  EXPECT_THAT(text, HasSubstr("and 37 more: penstock usage"));
}

TEST(StatusText, AnEmptyAnswerDoesNotCrash) {
  EXPECT_THAT(StatusText({}, "u", 80), HasSubstr("not ready"));
  EXPECT_FALSE(TopText({}, {}, "u", {}).empty());
}

// ---- top ----

// What GET /v1/live returns to an operator.
constexpr std::string_view kLive = R"({"object":"live","version":"0.1.0","at":1700000000.5,"uptime_s":125,
  "ready":true,"reason":"","draining":false,
  "pool":{"tokens_per_second":812.4,"computed_per_second":900,"running":12,"waiting":3},
  "engines":[{"name":"cpu0","chip":"2 cores","kernel":"avx512","runner":"native","state":"up","why":"",
    "running":12,"waiting":0,"computed_tokens":5000,"preemptions":1,
    "memory":{"used_bytes":1000000000,"total_bytes":4000000000}}],
  "teams":[{"team":"blue","running":2,"waiting":0,"tokens":400,"chip_ms":500},
           {"team":"red","running":10,"waiting":3,"tokens":600,"chip_ms":1500}],
  "requests":{"data":[],"total":0},
  "warnings":[{"at":1700000000.5,"level":"warning","text":"engine cpu0 is gone: connection reset"}]})";

json::object Live() {
  return json::parse({kLive.data(), kLive.size()}).get_object();
}

// Two seconds after Live().
json::object Later() {
  json::object now = Live();
  now["at"] = 1700000002.5;
  Item(now, "engines", 0)["computed_tokens"] = 7000;
  Item(now, "teams", 0)["tokens"] = 600;
  Item(now, "teams", 1)["tokens"] = 700;
  Item(now, "teams", 0)["chip_ms"] = 1500;
  return now;
}

TEST(TopText, ShowsTheStateOfTheCloud) {
  const std::string text = TopText(Live(), Later(), "http://h:1", {});
  EXPECT_THAT(text, HasSubstr("http://h:1 is ready, up for 2 min 5 s (Penstock 0.1.0)"));
  EXPECT_THAT(text, HasSubstr("12 running, 3 waiting, 812 tokens/s"));
  EXPECT_THAT(text, HasSubstr("[##......] 1.0 of 4.0 GB"));
  EXPECT_THAT(text, HasSubstr("engine cpu0 is gone"));
}

TEST(TopText, RatesAreDifferences) {
  const std::string text = TopText(Live(), Later(), "u", {});
  EXPECT_THAT(text, testing::ContainsRegex("cpu0 .* 1,000 +1\n"));
  EXPECT_THAT(text, testing::ContainsRegex("blue +100 +50 +2 +0 +600\n"));
  EXPECT_THAT(text, testing::ContainsRegex("red +50 +0 +10 +3 +700\n"));
}

// A developer gets no counters, and nobody gets those of "all other teams".
TEST(TopText, WhatTheKeyMayNotSeeIsADash) {
  json::object now = Later();
  now.erase("warnings");
  now["teams"] = {{{"team", "red"}, {"running", 10}, {"waiting", 3}}};
  now["other_teams"] = {{"running", 2}, {"waiting", 0}};
  const std::string text = TopText(now, now, "u", {});
  EXPECT_THAT(text, testing::ContainsRegex("red +- +- +10 +3 +-\nall other teams +- +- +2 +0 +-\n"));
  EXPECT_THAT(text, Not(HasSubstr("warning")));
}

TEST(TopText, SortsAsAsked) {
  const auto first = [](TopView::Sort sort) {
    const std::string text = TopText(Live(), Later(), "u", {.sort = sort});
    return text.find("\nblue") < text.find("\nred") ? "blue" : "red";
  };
  EXPECT_STREQ(first(TopView::Sort::kRate), "blue");
  EXPECT_STREQ(first(TopView::Sort::kWaiting), "red");
  EXPECT_STREQ(first(TopView::Sort::kName), "blue");
}

TEST(TopText, AnEngineThatRestartedHasNoNegativeRate) {
  json::object now = Later();
  Item(now, "engines", 0)["computed_tokens"] = 100;
  EXPECT_THAT(TopText(Live(), now, "u", {}), testing::ContainsRegex("cpu0 .* 50 +1\n"));
  EXPECT_THAT(TopText(Live(), now, "u", {}), Not(HasSubstr(" -")));
}

TEST(TopText, FitsTheTerminal) {
  const std::string text = TopText(Live(), Later(), "http://a.long.name:8700", {.rows = 5, .columns = 30});
  EXPECT_LE(Lines(text), 5u);
  EXPECT_LE(Widest(text), 30u);
}

json::object WithRequests(int running) {
  json::array data;
  for (int i = 0; i < running; ++i) {
    data.push_back(json::object{{"id", fmt::format("req_{:026}", i)},
                                {"model", "small"},
                                {"team", "red"},
                                {"state", i < 12 ? "running" : "waiting"},
                                {"prompt_tokens", 40},
                                {"tokens", 1200},
                                {"age_ms", 65'000}});
  }
  json::object now = Later();
  now["requests"] = {{"data", data}, {"total", running}};
  return now;
}

TEST(TopText, ListsAsManyRequestsAsThereIsRoomFor) {
  const auto text = [](int running, size_t rows) {
    return TopText(Live(), WithRequests(running), "u", {.rows = rows, .columns = 100});
  };
  EXPECT_THAT(text(0, 40), HasSubstr("no running or waiting requests\n"));
  EXPECT_THAT(text(3, 40), testing::ContainsRegex("req_0+2 +red +small +running +40 +1,200 +1 min 5 s\n$"));
  for (const size_t rows : {24u, 40u, 60u}) {
    const std::string many = text(60, rows);
    EXPECT_EQ(Lines(many), rows) << many;
    EXPECT_THAT(many, testing::ContainsRegex("and [0-9]+ more\n$"));
    EXPECT_THAT(many, HasSubstr("req_00000000000000000000000000 "));
    EXPECT_LE(Lines(text(60, 10)), 10u);
  }
}

TEST(Fit, CutsByCharactersNotBytes) {
  EXPECT_EQ(Fit("äöü\nabc\nx\n", 2, 2), "äö\nab\n");
}

TEST(Bar, IsAsFullAsItsPart) {
  EXPECT_EQ(Bar(1, 4, 8), "[##......]");
  EXPECT_EQ(Bar(9, 4, 4), "[####]");
  EXPECT_EQ(Bar(1, 0, 4), "[....]");
}

}  // namespace
}  // namespace penstock
