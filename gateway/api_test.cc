#include "gateway/http/router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include "gateway/testing.h"

namespace penstock::gateway {
namespace {

using boost::json::value;
using testing::Answer;
using testing::Chat;
using testing::Client;
using ::testing::HasSubstr;
using testing::Text;
using testing::World;

Answer Get(World& world, std::string_view path, std::string_view key = "operator") {
  Client client(world.port);
  client.Get(path, key);
  return client.Read();
}
Answer Post(World& world, std::string_view path, std::string_view body, std::string_view key = "operator") {
  Client client(world.port);
  client.Post(path, body, key);
  return client.Read();
}

TEST(Models, AreThoseOfTheKey) {
  World world;
  const value all = Get(world, "/v1/models", "key-a").Json();
  EXPECT_EQ(Text(all.at("object")), "list");
  ASSERT_EQ(all.at("data").as_array().size(), 2);
  const value& model = all.at("data").at(1);
  EXPECT_EQ(Text(model.at("id")), "tiny");
  EXPECT_EQ(Text(model.at("object")), "model");
  EXPECT_EQ(model.at("created").as_int64(), 1'700'000'000);
  EXPECT_TRUE(model.as_object().contains("owned_by"));
  EXPECT_EQ(Text(model.at("guarantees").at("exact_usage")), "partly") << "as its engine says of itself";
  EXPECT_EQ(Text(model.at("guarantees").at("reclaim")), "no");
  EXPECT_EQ(Get(world, "/v1/models", "key-b").Json().at("data").as_array().size(), 1);
  EXPECT_EQ(Get(world, "/v1/models/tiny", "key-a").status, 200);
  EXPECT_EQ(Get(world, "/v1/models/tiny", "key-b").status, 404);
  EXPECT_EQ(Get(world, "/v1/models", "wrong").status, 401);
}

TEST(Requests, TellTheirOutcomeToTheirKeyOnly) {
  World world;
  world.Do([&] { world.fleet.AnswerWith({"a", "b"}); });
  const Answer answer = Post(world, "/v1/chat/completions", Chat(), "key-a");
  const std::string id = answer.headers.at("x-request-id");
  const value record = Get(world, "/v1/requests/" + id, "key-a").Json();
  EXPECT_EQ(Text(record.at("id")), id);
  EXPECT_EQ(Text(record.at("outcome")), "stop");
  EXPECT_EQ(record.at("usage").at("completion_tokens").as_int64(), 2);
  EXPECT_EQ(Text(record.at("trail").at(0).at("kind")), "first_token");
  EXPECT_EQ(Get(world, "/v1/requests/chatcmpl-" + id, "key-a").status, 200);
  const Answer other = Get(world, "/v1/requests/" + id, "key-b");
  EXPECT_EQ(other.status, 404);
  EXPECT_EQ(other.Error("message").find("req_999999"), std::string::npos);
  EXPECT_EQ(Get(world, "/v1/requests/req_999999", "key-a").status, 404);
  EXPECT_EQ(Get(world, "/admin/v1/requests/" + id).status, 200);
}

TEST(Requests, TellHowExactlyTheyWereCounted) {
  World world;
  world.Do([&] { world.fleet.AnswerWith({"a", "b"}); });
  const auto record = [&] {
    const Answer answer = Post(world, "/v1/chat/completions", Chat(), "key-a");
    return Get(world, "/v1/requests/" + answer.headers.at("x-request-id"), "key-a").Json();
  };
  EXPECT_EQ(Text(record().at("exact_usage")), "yes");
  world.Do([&] { world.fleet.exact_usage = false; });
  const value counted = record();
  EXPECT_EQ(Text(counted.at("exact_usage")), "partly");
  EXPECT_EQ(counted.at("reported_tokens").as_int64(), 2);
  EXPECT_EQ(counted.at("usage").at("completion_tokens").as_int64(), 2);
}

TEST(Usage, OfADeveloperIsTheOwnKeys) {
  World world;
  const value usage = Get(world, "/v1/usage?since=5&by_key=1&model=tiny", "key-a").Json();
  EXPECT_EQ(usage.at("data").at(0).at("input_tokens").as_int64(), 10);
  EXPECT_EQ(Text(usage.at("data").at(0).at("key")), "ci");
  const UsageQuery query = world.Ask([&] { return world.accounts.last_query; });
  EXPECT_EQ(query.key, 1);
  EXPECT_EQ(query.since, 5 * kSecond);
  EXPECT_EQ(query.model, "tiny");
  EXPECT_EQ(Get(world, "/v1/usage?since=soon", "key-a").status, 400);
}

TEST(Admin, MakesTeamsAndKeys) {
  World world;
  const Answer team = Post(world, "/admin/v1/teams", R"({"name":"search"})");
  EXPECT_EQ(team.status, 201);
  EXPECT_EQ(team.Json().at("id").as_int64(), 1);
  EXPECT_EQ(Post(world, "/admin/v1/teams", R"({"name":"search"})").status, 409);
  const Answer key =
      Post(world, "/admin/v1/keys", R"({"team":"search","name":"ci","models":["tiny"],"expires":99})");
  EXPECT_EQ(key.status, 201);
  EXPECT_EQ(Text(key.Json().at("secret")), "sk-penstock-aabbcc");
  EXPECT_EQ(key.Json().at("expires").as_int64(), 99);
  const value listed = Get(world, "/admin/v1/keys?team=search").Json().at("data").at(0);
  EXPECT_EQ(Text(listed.at("role")), "developer");
  EXPECT_FALSE(listed.as_object().contains("secret"));
  EXPECT_EQ(Get(world, "/admin/v1/keys?team=nobody").status, 404);
  EXPECT_EQ(Text(Post(world, "/admin/v1/keys/1/rotate", R"({"overlap":60})").Json().at("secret")),
            "sk-penstock-new");
  EXPECT_EQ(world.Ask([&] { return world.accounts.rotated_overlap; }), 60 * kSecond);
  Client client(world.port);
  client.Get("/admin/v1/keys/sk-penstock-aa", "operator", "DELETE");
  EXPECT_EQ(client.Read().status, 200);
  EXPECT_GT(world.Ask([&] { return world.accounts.keys[0].revoked; }), 0);
}

TEST(Admin, RefusesMistakesByName) {
  World world;
  EXPECT_EQ(Post(world, "/admin/v1/teams", "{}").Error("param"), "name");
  EXPECT_EQ(Post(world, "/admin/v1/teams", R"({"name":"a","colour":"red"})").Error("param"), "colour");
  EXPECT_EQ(Post(world, "/admin/v1/keys", R"({"team":"a","role":"king"})").Error("param"), "role");
  EXPECT_EQ(Post(world, "/admin/v1/keys", R"({"name":"a"})").Error("param"), "team");
  EXPECT_EQ(Post(world, "/admin/v1/keys", R"({"team":"a","models":"tiny"})").Error("param"), "models");
}

TEST(Admin, StatusTellsOfEnginesModelsAndStore) {
  World world;
  const value status = Get(world, "/admin/v1/status").Json();
  EXPECT_TRUE(status.at("ready").as_bool());
  EXPECT_TRUE(status.at("store").at("healthy").as_bool());
  EXPECT_EQ(Text(status.at("engines").at(0).at("models").at(1).at("state")), "ready");
  EXPECT_EQ(Text(status.at("models").at(1).at("name")), "tiny");
  world.Do([&] { world.accounts.store_fault = "disk full"; });
  const value failed = Get(world, "/admin/v1/status").Json();
  EXPECT_FALSE(failed.at("ready").as_bool());
  EXPECT_THAT(Text(failed.at("reason")), HasSubstr("disk full"));
}

TEST(Admin, LogLevelsChangeAndReturnByThemselves) {
  World world;
  const auto level = [&](const char* part) {
    return std::string(Get(world, "/admin/v1/status").Json().at("log").at(part).at("level").as_string());
  };
  const auto set = Post(world, "/admin/v1/log", R"({"level":"debug","component":"gateway","for_seconds":1})");
  EXPECT_EQ(set.status, 200);
  EXPECT_EQ(set.Json().at("gateway").at("for_seconds").as_int64(), 1);
  EXPECT_EQ(level("gateway"), "debug");
  EXPECT_EQ(level("engine"), "info");
  EXPECT_EQ(spdlog::get_level(), spdlog::level::debug);
  EXPECT_TRUE(world.Ask([&] { return world.fleet.log_levels.empty(); }));
  ASSERT_TRUE(world.Eventually([] { return spdlog::get_level() == spdlog::level::info; }));
  EXPECT_EQ(level("gateway"), "info");

  Post(world, "/admin/v1/log", R"({"level":"error"})");
  EXPECT_EQ(level("gateway"), "error");
  EXPECT_EQ(Get(world, "/admin/v1/log").Json().at("engine").at("for_seconds").as_int64(), 0);
  Post(world, "/admin/v1/log", R"({"level":"info"})");
  EXPECT_EQ(world.Ask([&] { return world.fleet.log_levels; }), (std::vector<std::string>{"error", "info"}));
}

TEST(Admin, ALogLevelThatIsNoneIsRefusedByName) {
  World world;
  EXPECT_EQ(Post(world, "/admin/v1/log", R"({"level":"loud"})").Error("param"), "level");
  EXPECT_EQ(Post(world, "/admin/v1/log", "{}").Error("param"), "level");
  EXPECT_EQ(Post(world, "/admin/v1/log", R"({"level":"info","component":"disk"})").Error("param"),
            "component");
  Client client(world.port);
  client.Post("/admin/v1/log", R"({"level":"debug"})", "key-a");
  EXPECT_EQ(client.Read().status, 403);
}

TEST(Admin, UnloadedModelsAnswer503UntilTheyAreLoaded) {
  World world;
  world.Do([&] { world.fleet.AnswerWith({"a"}); });
  EXPECT_FALSE(Post(world, "/admin/v1/models/tiny/unload", "").Json().at("served").as_bool());
  EXPECT_EQ(Post(world, "/v1/chat/completions", Chat(), "key-a").status, 503);
  EXPECT_TRUE(Post(world, "/admin/v1/models/tiny/load", "").Json().at("served").as_bool());
  EXPECT_EQ(Post(world, "/v1/chat/completions", Chat(), "key-a").status, 200);
  EXPECT_EQ(Post(world, "/admin/v1/models/none/load", "").status, 404);
}

TEST(Admin, ARescanFindsWhatCameAndWhatWent) {
  GatewayOptions options;
  options.rescan = [] { return std::vector{World::Installed("fresh"), World::Installed("tiny")}; };
  World world(options);
  const value change = Post(world, "/admin/v1/models/rescan", "").Json();
  EXPECT_EQ(Text(change.at("added").at(0)), "fresh");
  EXPECT_EQ(Text(change.at("removed").at(0)), "other");
  EXPECT_EQ(change.at("data").as_array().size(), 2);
}

TEST(Metrics, CountWhatHappened) {
  World world;
  world.Do([&] { world.fleet.AnswerWith({"a", "b"}); });
  Post(world, "/v1/chat/completions", Chat(), "key-a");
  Post(world, "/v1/chat/completions", Chat(), "wrong");
  const std::string page = Get(world, "/metrics").body;
  EXPECT_THAT(
      page, HasSubstr(R"(penstock_requests_total{code="200",model="tiny",outcome="stop",team="search"} 1)"));
  EXPECT_THAT(page, HasSubstr(R"(penstock_tokens_total{kind="output",model="tiny",team="search"} 2)"));
  EXPECT_THAT(page, HasSubstr("penstock_time_to_first_token_seconds_count"));
  EXPECT_THAT(page, HasSubstr(R"(penstock_engine_up{engine="cpu0"} 1)"));
  EXPECT_THAT(page, HasSubstr(R"(penstock_http_responses_total{code="401"} 1)"));
}

TEST(Metrics, AModelThatDoesNotExistMakesNoSeries) {
  World world;
  Post(world, "/v1/chat/completions", R"({"model":"evil","messages":[{"role":"user","content":"a"}]})",
       "key-a");
  EXPECT_EQ(Get(world, "/metrics").body.find("evil"), std::string::npos);
}

}  // namespace
}  // namespace penstock::gateway
