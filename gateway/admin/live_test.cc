#include "gateway/admin/live.h"

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
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::Text;
using testing::World;

// A pool of two teams: search (a developer, a colleague and their lead) and ads.
class Live : public ::testing::Test {
 protected:
  Live() {
    auto& principals = world.accounts.principals;
    principals["colleague-a"] = principals["key-a"];
    principals["colleague-a"].key = 11;
    principals["lead-a"] = principals["key-a"];
    principals["lead-a"].key = 12;
    principals["lead-a"].role = Role::kTeamLead;
    principals["finance"] = principals["key-a"];
    principals["finance"].key = 13;
    principals["finance"].team = 0;
    principals["finance"].team_name = "";
    principals["finance"].role = Role::kFinance;
    world.Do([this] {
      world.fleet.queue = {{.team = 1, .name = "search", .waiting = 2, .running = 5, .tokens = 123},
                           {.team = 2, .name = "ads", .waiting = 30, .running = 4, .tokens = 77},
                           {.team = 3, .name = "maps", .waiting = 1, .running = 2}};
    });
  }

  // A streamed chat by `key` that goes on until its client leaves.
  std::unique_ptr<Client> Begin(std::string_view key, std::string_view model = "tiny") {
    const JobId before = world.Ask([this] { return world.fleet.last; });
    auto client = std::make_unique<Client>(world.port);
    client->Post(
        "/v1/chat/completions",
        fmt::format(R"({{"model":"{}","stream":true,"messages":[{{"role":"user","content":"hi"}}]}})", model),
        key);
    EXPECT_TRUE(world.Eventually(
        [&] { return world.fleet.last == before + 1 && world.wiring.status.live.size() > 0; }));
    return client;
  }
  Answer Ask(std::string_view key, std::string_view query = "") {
    Client client(world.port);
    client.Get(fmt::format("/v1/live{}", query), key);
    return client.Read();
  }
  static std::vector<std::string> TeamsOf(const value& snapshot) {
    std::vector<std::string> names;
    for (const value& team : snapshot.at("teams").as_array()) names.push_back(Text(team.at("team")));
    return names;
  }
  static int64_t Requests(const value& snapshot) { return snapshot.at("requests").at("total").as_int64(); }

  World world;
};

TEST_F(Live, WantsAKey) {
  EXPECT_EQ(Ask("wrong").status, 401);
  EXPECT_EQ(Ask("key-a").status, 200);
}

TEST_F(Live, OperatorsAndFinanceSeeEveryTeam) {
  for (const char* key : {"operator", "finance"}) {
    const value snapshot = Ask(key).Json();
    EXPECT_THAT(TeamsOf(snapshot), ElementsAre("search", "ads", "maps"));
    EXPECT_FALSE(snapshot.as_object().contains("other_teams"));
    EXPECT_EQ(snapshot.at("teams").at(1).at("waiting").as_int64(), 30);
    EXPECT_EQ(snapshot.at("teams").at(1).at("tokens").as_int64(), 77);
  }
}

TEST_F(Live, WhatATeamUsedIsToldToThoseWhoMayReadItsUsage) {
  const value lead = Ask("lead-a").Json(), developer = Ask("key-a").Json();
  EXPECT_EQ(lead.at("teams").at(0).at("tokens").as_int64(), 123);
  EXPECT_FALSE(lead.at("other_teams").as_object().contains("tokens"));
  EXPECT_FALSE(developer.at("teams").at(0).as_object().contains("tokens"));
  EXPECT_FALSE(developer.at("teams").at(0).as_object().contains("chip_ms"));
}

TEST_F(Live, WarningsAreTheOperatorsToRead) {
  EXPECT_TRUE(Ask("operator").Json().as_object().contains("warnings"));
  for (const char* key : {"finance", "lead-a", "key-a"})
    EXPECT_FALSE(Ask(key).Json().as_object().contains("warnings")) << key;
}

TEST_F(Live, EnginesAndModelsTellTheirState) {
  const value snapshot = Ask("key-a").Json();
  EXPECT_EQ(Text(snapshot.at("engines").at(0).at("name")), "cpu0");
  EXPECT_EQ(Text(snapshot.at("engines").at(0).at("state")), "up");
  EXPECT_EQ(Text(snapshot.at("models").at(1).at("state")), "ready");
}

TEST_F(Live, OthersSeeTheirTeamAndTheSumOfTheRestWithoutNames) {
  for (const char* key : {"key-a", "lead-a"}) {
    const Answer answer = Ask(key);
    const value snapshot = answer.Json();
    EXPECT_THAT(TeamsOf(snapshot), ElementsAre("search")) << key;
    EXPECT_EQ(snapshot.at("teams").at(0).at("running").as_int64(), 5);
    EXPECT_EQ(snapshot.at("other_teams").at("running").as_int64(), 6);
    EXPECT_EQ(snapshot.at("other_teams").at("waiting").as_int64(), 31);
    EXPECT_THAT(answer.body, Not(HasSubstr("ads")));
    EXPECT_THAT(answer.body, Not(HasSubstr("maps")));
  }
}

TEST_F(Live, ADeveloperListsTheirOwnRequestsALeadTheTeams) {
  const auto mine = Begin("key-a"), colleagues = Begin("colleague-a"), foreign = Begin("key-b", "other");
  EXPECT_EQ(Requests(Ask("operator").Json()), 3);
  EXPECT_EQ(Requests(Ask("lead-a").Json()), 2);
  EXPECT_EQ(Requests(Ask("key-a").Json()), 1);
  EXPECT_EQ(Requests(Ask("colleague-a").Json()), 1);
  EXPECT_EQ(Requests(Ask("key-b").Json()), 1);
  EXPECT_EQ(Requests(Ask("finance").Json()), 3);
  EXPECT_EQ(Text(Ask("key-b").Json().at("requests").at("data").at(0).at("team")), "ads");
}

TEST_F(Live, ARequestTellsHowFarItIs) {
  const auto client = Begin("key-a");
  const auto only = [this] { return Ask("key-a").Json().at("requests").at("data").at(0); };
  EXPECT_EQ(Text(only().at("model")), "tiny");
  EXPECT_EQ(only().at("prompt_tokens").as_int64(), 18);  // "user:hi|assistant:"
  EXPECT_EQ(Text(only().at("state")), "waiting");
  world.Do([this] { world.fleet.jobs[1].sink->OnEvent(JobEvent::kAdmitted, ""); });
  EXPECT_EQ(Text(only().at("state")), "running");
  world.Do([this] { world.fleet.Emit(1, "word", 3); });
  EXPECT_EQ(only().at("tokens").as_int64(), 3);
  EXPECT_GE(only().at("age_ms").as_int64(), 0);
  world.Do([this] { world.fleet.jobs[1].sink->OnEvent(JobEvent::kPaused, ""); });
  EXPECT_EQ(Text(only().at("state")), "paused");
}

TEST_F(Live, WhatEndedIsGoneHoweverItEnded) {
  auto whole = Begin("key-a"), cut = Begin("key-a"), failed = Begin("key-a");
  world.Do([this] {
    world.fleet.Emit(1, "end", 1, wire::STOP);
    const auto sink = world.fleet.jobs[3].sink;
    sink->OnFailed({Code::kUnavailable, "the engine died"});
  });
  cut.reset();
  EXPECT_TRUE(world.Eventually([this] { return world.wiring.status.live.empty(); }));
  EXPECT_EQ(Requests(Ask("operator").Json()), 0);
}

TEST_F(Live, ListsAsManyRequestsAsAskedForAndCountsThemAll) {
  const auto a = Begin("key-a"), b = Begin("key-a"), c = Begin("key-a");
  const value two = Ask("key-a", "?requests=2").Json();
  EXPECT_EQ(two.at("requests").at("data").as_array().size(), 2);
  EXPECT_EQ(Requests(two), 3);
  EXPECT_THAT(Ask("key-a", "?requests=0").Json().at("requests").at("data").as_array(), IsEmpty());
  EXPECT_EQ(Ask("key-a", "?requests=many").status, 400);
}

TEST_F(Live, AKeyIsNotToldOfModelsThatItMayNotUse) {
  const Answer answer = Ask("key-b");
  EXPECT_THAT(answer.body, HasSubstr("other"));
  EXPECT_THAT(answer.body, Not(HasSubstr("tiny")));
}

TEST_F(Live, WhyAModelFailedIsTheOperatorsToRead) {
  world.Do([this] {
    world.fleet.broken_models["tiny"] = "/secret/place/tiny.gguf is damaged";
    world.models.Refresh();
  });
  EXPECT_THAT(Ask("operator").body, HasSubstr("/secret/place"));
  const Answer answer = Ask("key-a");
  EXPECT_THAT(answer.body, Not(HasSubstr("/secret/place")));
  EXPECT_EQ(Text(answer.Json().at("models").at(1).at("state")), "failed");
}

TEST(Rate, IsThatOfTheLastSeconds) {
  Rate rate;
  EXPECT_EQ(rate.PerSecond(), 0);
  uint64_t tokens = 0;
  for (int second = 0; second <= 10; ++second) rate.Note(second * kSecond, tokens += 100);
  EXPECT_DOUBLE_EQ(rate.PerSecond(), 100);
  for (int second = 11; second <= 20; ++second) rate.Note(second * kSecond, tokens);
  EXPECT_DOUBLE_EQ(rate.PerSecond(), 0);
}

}  // namespace
}  // namespace penstock::gateway
