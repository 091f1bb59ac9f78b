// Who may do what: every route for every role, and what each role reaches, through the real router and real
// accounts. Only the fleet is made up.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <filesystem>

#include "gateway/test_client.h"
#include "gateway/test_fakes.h"
#include "gateway/wiring.h"
#include "teams/testing.h"

namespace penstock::gateway {
namespace {

using ::testing::AllOf;
using testing::Answer;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Text;

class Captured final : public Reply {
 public:
  void Listen(std::shared_ptr<Listener> listener) override { listener_ = std::move(listener); }
  bool Send(const HttpResponse& response, uint64_t) override {
    answer.status = response.status;
    answer.body = response.body;
    return true;
  }
  bool Start(const HttpResponse&) override { return true; }
  bool Write(std::string_view, uint64_t) override { return true; }
  bool Finish(std::string_view, uint64_t) override { return true; }
  void Abort() override {}

  Answer answer;

 private:
  std::shared_ptr<Listener> listener_;
};

// Two teams, red and blue. Of red: a lead, a developer, and a colleague of theirs; of blue the same.
class Cloud {
 public:
  explicit Cloud(bool open_metrics = false) : options_(OptionsWith(open_metrics)) {
    spdlog::set_level(spdlog::level::off);
    for (const char* const team : {"red", "blue"}) {
      (void)Await<Result<Team>>([&](auto done) { accounts->CreateTeam(team, done); });
    }
    op = Key("", Role::kOperator);
    finance = Key("", Role::kFinance);
    lead = Key("red", Role::kTeamLead);
    developer = Key("red", Role::kDeveloper, "mine");
    colleague = Key("red", Role::kDeveloper, "colleague");
    blue_lead = Key("blue", Role::kTeamLead);
    blue = Key("blue", Role::kDeveloper, "blues");
    fleet.AnswerWith({"a", "b"});
    InstalledModel model;
    model.name = "tiny";
    model.path = "/nowhere";
    models_.Install({model});
    while (!models_.AnyReady()) io_.run_one();
    models_.Refresh();
  }
  ~Cloud() {
    workers_.Stop();
    pool_.join();
    io_.restart();
    io_.poll();
  }

  CreatedKey Key(const std::string& team, Role role, const std::string& name = "",
                 std::vector<std::string> models = {}) {
    const NewKey key{team, name, role, std::move(models), 0};
    return *Await<Result<CreatedKey>>([&](auto done) { accounts->CreateKey(key, done); });
  }
  // Runs the io context until `begin`'s completion.
  template <class T>
  T Await(const std::function<void(Done<T>)>& begin) {
    std::optional<T> value;
    begin([&](T given) { value.emplace(std::move(given)); });
    while (!value) io_.run_one();
    return *std::move(value);
  }

  // `path` may carry a query.
  Answer Ask(Method method, std::string_view path, std::string_view secret, std::string body = "") {
    HttpRequest request;
    request.method = method;
    request.path = path.substr(0, path.find('?'));
    if (const size_t at = path.find('?'); at != std::string_view::npos) request.query = path.substr(at + 1);
    request.bearer = secret;
    request.body = std::move(body);
    if (const auto refusal = wiring_.router.Refuse(request)) {
      Answer answer;
      answer.status = refusal->status;
      answer.body = refusal->body;
      return answer;
    }
    const auto reply = std::make_shared<Captured>();
    wiring_.router.Handle(request, reply);
    while (reply->answer.status == 0) io_.run_one();
    return reply->answer;
  }
  Answer Get(std::string_view path, const CreatedKey& who) { return Ask(Method::kGet, path, who.secret); }
  Answer Post(std::string_view path, const CreatedKey& who, std::string body = "") {
    return Ask(Method::kPost, path, who.secret, std::move(body));
  }

  // The id of a request that `who` made and that has ended.
  std::string Request(const CreatedKey& who) {
    const std::string id = Text(Post("/v1/chat/completions", who, testing::Chat()).Json().at("id"));
    accounts->Flush();
    io_.poll();
    return id;
  }

 private:
  penstock::testing::TempDir dir_;
  boost::asio::io_context io_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{io_.get_executor()};
  boost::asio::thread_pool pool_{1};
  PromptWorkers workers_;
  static GatewayOptions OptionsWith(bool open_metrics) {
    GatewayOptions options;
    options.open_metrics = open_metrics;
    return options;
  }
  const GatewayOptions options_;

 public:
  ManualClock clock;
  std::unique_ptr<Accounts> accounts = *OpenAccounts(
      {.data_dir = dir_.path, .post = [this](auto done) { boost::asio::post(io_, std::move(done)); }}, clock);
  testing::FakeFleet fleet{io_};
  CreatedKey op, finance, lead, developer, colleague, blue_lead, blue;

 private:
  Models models_{io_, pool_, fleet, [](const InstalledModel&) -> Result<ModelTextPtr> {
                   auto text = std::make_shared<ModelText>();
                   text->tokenizer = std::make_unique<testing::ByteTokenizer>();
                   text->chat = std::make_unique<testing::PlainTemplate>("assistant:");
                   text->end_tokens = {2};
                   return text;
                 }};
  Log log_{-1, SystemClock()};
  Wiring wiring_{io_,      workers_,  SystemClock(),
                 options_, *accounts, fleet,
                 models_,  log_,      [](std::string_view, std::string_view) { return Status(); }};

 public:
  std::span<const Route> Routes() const { return wiring_.router.routes(); }
};

// ---- every route, every role ----

struct MatrixRow {
  Method method;
  std::string_view
      route;  // {} stands for a thing of team red: itself, a key, the developer's request, or the model
  std::string body;
  std::array<int, 5> status;  // no key, developer, team lead, finance, operator
};

const std::vector<MatrixRow>& Matrix() {
  static const std::string kChat = testing::Chat(), kNewKey = R"({"team":"red"})";
  static const std::string kPrompt = R"({"model":"tiny","prompt":"hi"})";
  static const std::string kExternal = R"({"external":true})";
  static const std::string kLog = R"({"level":"info"})";
  static const std::string kSetting = R"({"name":"gateway.queue_timeout","value":"1m"})";
  static const std::vector<MatrixRow> rows = {
      //                                                           none  dev lead  fin   op
      {Method::kGet, "/", "", /*                              */ {200, 200, 200, 200, 200}},
      {Method::kGet, "/console/{}", "", /*                    */ {200, 200, 200, 200, 200}},
      {Method::kGet, "/livez", "", /*                         */ {200, 200, 200, 200, 200}},
      {Method::kGet, "/readyz", "", /*                        */ {200, 200, 200, 200, 200}},
      {Method::kGet, "/metrics", "", /*                       */ {401, 403, 403, 403, 200}},
      {Method::kPost, "/v1/chat/completions", kChat, /*       */ {401, 200, 200, 403, 200}},
      {Method::kPost, "/v1/completions", kPrompt, /*          */ {401, 200, 200, 403, 200}},
      {Method::kGet, "/v1/models", "", /*                     */ {401, 200, 200, 403, 200}},
      {Method::kGet, "/v1/models/{}", "", /*                  */ {401, 200, 200, 403, 200}},
      {Method::kGet, "/v1/requests/{}", "", /*                */ {401, 200, 200, 200, 200}},
      {Method::kGet, "/v1/usage", "", /*                      */ {401, 200, 200, 200, 200}},
      {Method::kGet, "/v1/seat", "", /*                       */ {401, 200, 200, 200, 200}},
      {Method::kPost, "/v1/logins", "", /*                    */ {401, 201, 201, 201, 201}},
      {Method::kGet, "/v1/live", "", /*                       */ {401, 200, 200, 200, 200}},
      {Method::kPost, "/admin/v1/teams", R"({"name":"$"})", /**/ {401, 403, 403, 403, 201}},
      {Method::kGet, "/admin/v1/teams", "", /*                */ {401, 403, 200, 200, 200}},
      {Method::kGet, "/admin/v1/teams/{}", "", /*             */ {401, 403, 200, 200, 200}},
      {Method::kPost, "/admin/v1/teams/{}", kExternal, /*     */ {401, 403, 403, 403, 200}},
      {Method::kDelete, "/admin/v1/teams/{}", "", /*          */ {401, 403, 403, 403, 200}},
      {Method::kPost, "/admin/v1/keys", kNewKey, /*           */ {401, 403, 201, 403, 201}},
      {Method::kGet, "/admin/v1/keys", "", /*                 */ {401, 200, 200, 200, 200}},
      {Method::kPost, "/admin/v1/keys/{}/rotate", "", /*      */ {401, 403, 200, 403, 200}},
      {Method::kDelete, "/admin/v1/keys/{}", "", /*           */ {401, 404, 200, 404, 200}},
      {Method::kGet, "/admin/v1/usage", "", /*                */ {401, 200, 200, 200, 200}},
      {Method::kGet, "/admin/v1/requests/{}", "", /*          */ {401, 200, 200, 200, 200}},
      {Method::kGet, "/admin/v1/status", "", /*               */ {401, 403, 403, 403, 200}},
      {Method::kGet, "/admin/v1/log", "", /*                  */ {401, 403, 403, 403, 200}},
      {Method::kPost, "/admin/v1/log", kLog, /*               */ {401, 403, 403, 403, 200}},
      {Method::kPost, "/admin/v1/settings", kSetting, /*      */ {401, 403, 403, 403, 200}},
      {Method::kGet, "/admin/v1/engines", "", /*              */ {401, 403, 403, 403, 200}},
      {Method::kPost, "/admin/v1/engines/{}/drain", "", /*    */ {401, 403, 403, 403, 200}},
      {Method::kPost, "/admin/v1/engines/{}/resume", "", /*   */ {401, 403, 403, 403, 200}},
      {Method::kPost, "/admin/v1/engines/{}/restart", "", /*  */ {401, 403, 403, 403, 200}},
      {Method::kGet, "/admin/v1/models", "", /*               */ {401, 403, 403, 403, 200}},
      {Method::kPost, "/admin/v1/models/rescan", "", /*       */ {401, 403, 403, 403, 200}},
      {Method::kPost, "/admin/v1/models/{}/load", "", /*      */ {401, 403, 403, 403, 200}},
      {Method::kPost, "/admin/v1/models/{}/unload", "", /*    */ {401, 403, 403, 403, 200}},
  };
  return rows;
}

std::string Replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string out(text);
  if (const size_t at = out.find(from); at != std::string::npos) out.replace(at, from.size(), to);
  return out;
}

std::string Installed(std::string_view route) {
  return route.find("/engines/") != std::string_view::npos ? "cpu0" : "tiny";
}

TEST(Seats, ATeamIsRenamedThenRemovedAndItsUsageCanStillBeRead) {
  Cloud cloud;
  (void)cloud.Request(cloud.developer);
  EXPECT_EQ(cloud.Post("/admin/v1/teams/red", cloud.op, R"({"name":"rouge","external":true})").status, 400);
  EXPECT_EQ(cloud.Post("/admin/v1/teams/red", cloud.op, R"({"name":"blue"})").status, 409);
  EXPECT_EQ(cloud.Post("/admin/v1/teams/red", cloud.op, R"({"name":"rouge"})").status, 200);
  EXPECT_EQ(cloud.Get("/admin/v1/teams/red", cloud.op).status, 404);
  EXPECT_EQ(Text(cloud.Get("/v1/seat", cloud.developer).Json().at("team")), "rouge");
  const Answer removed = cloud.Ask(Method::kDelete, "/admin/v1/teams/rouge", cloud.op.secret);
  EXPECT_GT(removed.Json().at("removed").as_int64(), 0);
  EXPECT_EQ(cloud.Get("/v1/seat", cloud.developer).status, 401);
  EXPECT_THAT(cloud.Get("/admin/v1/teams", cloud.op).body, Not(HasSubstr("rouge")));
  EXPECT_EQ(cloud.Get("/admin/v1/teams/rouge", cloud.op).status, 200);
  const Answer usage = cloud.Get("/admin/v1/usage?team=rouge", cloud.op);
  EXPECT_EQ(usage.Json().at("data").at(0).at("requests").as_int64(), 1) << usage.body;
}

TEST(Seats, EveryRouteAnswersEveryRoleAsTheMatrixSays) {
  Cloud cloud;
  const std::string request = cloud.Request(cloud.developer);
  const std::array<std::string, 5> secrets = {"", cloud.developer.secret, cloud.lead.secret,
                                              cloud.finance.secret, cloud.op.secret};
  for (const MatrixRow& row : Matrix()) {
    if (row.route.ends_with("unload")) continue;  // at the end: the others want the model
    for (size_t role = 0; role < secrets.size(); ++role) {
      const bool keys = row.route.find("/keys/") != std::string_view::npos;
      const bool requests = row.route.find("/requests/") != std::string_view::npos;
      const std::string thing = keys       ? std::to_string(cloud.Key("red", Role::kDeveloper).key.id)
                                : requests ? request
                                : row.route.starts_with("/console/")                  ? "theme.js"
                                : row.route.find("/teams/") == std::string_view::npos ? Installed(row.route)
                                : row.method == Method::kDelete                       ? "blue"
                                                                                      : "red";
      const std::string body = Replaced(row.body, "$", fmt::format("team {}", role));
      const Answer answer = cloud.Ask(row.method, Replaced(row.route, "{}", thing), secrets[role], body);
      EXPECT_EQ(answer.status, row.status[role])
          << MethodName(row.method) << " " << row.route << ", column " << role << ": " << answer.body;
    }
  }
  const MatrixRow& unload = Matrix().back();
  for (size_t role = 0; role < secrets.size(); ++role) {
    EXPECT_EQ(cloud.Ask(unload.method, Replaced(unload.route, "{}", "tiny"), secrets[role]).status,
              unload.status[role]);
  }
}

TEST(Seats, EveryRouteIsInTheMatrixAndNoOther) {
  Cloud cloud;
  const auto listed = [](const Route& route) {
    return std::ranges::count_if(Matrix(), [&](const MatrixRow& row) {
      return row.method == route.method && row.route == route.path;
    });
  };
  for (const Route& route : cloud.Routes()) {
    EXPECT_EQ(listed(route), 1) << "add " << MethodName(route.method) << " " << route.path
                                << " to the matrix";
  }
  EXPECT_EQ(cloud.Routes().size(), Matrix().size());
}

TEST(Seats, OnThisMachineAloneMetricsWantNoKey) {
  Cloud cloud(/*open_metrics=*/true);
  EXPECT_EQ(cloud.Ask(Method::kGet, "/metrics", "").status, 200);
  EXPECT_EQ(cloud.Ask(Method::kGet, "/admin/v1/status", "").status, 401);
}

TEST(Seats, ARefusalSaysWhichRoleIsWantedAndWhichThereIs) {
  Cloud cloud;
  const Answer answer = cloud.Get("/admin/v1/teams", cloud.developer);
  EXPECT_EQ(answer.Error("code"), "permission_denied");
  EXPECT_THAT(answer.Error("message"),
              AllOf(HasSubstr("/admin/v1/teams"), HasSubstr("operator or finance or team_lead"),
                    HasSubstr("this key has the role developer")));
}

// ---- a seat says what the routes do ----

TEST(Seats, TellWhoAKeyIsAndWhatItMay) {
  Cloud cloud;
  const auto scoped = cloud.Key("red", Role::kTeamLead, "scoped", {"tiny"});
  const auto seat = cloud.Get("/v1/seat", scoped).Json();
  EXPECT_EQ(Text(seat.at("object")), "seat");
  EXPECT_EQ(Text(seat.at("role")), "team_lead");
  EXPECT_EQ(Text(seat.at("team")), "red");
  EXPECT_EQ(seat.at("key").at("id").as_int64(), scoped.key.id);
  EXPECT_EQ(Text(seat.at("key").at("name")), "scoped");
  EXPECT_EQ(Text(seat.at("key").at("prefix")), scoped.key.prefix);
  EXPECT_EQ(seat.at("key").at("expires").as_int64(), 0);
  EXPECT_EQ(Text(seat.at("models").at(0)), "tiny");
  EXPECT_EQ(Text(cloud.Get("/v1/seat", cloud.op).Json().at("team")), "") << "an operator is of no team";
}

TEST(Seats, MayWhatTheRoutesLetThem) {
  Cloud cloud;
  const std::array<const CreatedKey*, 4> seats = {&cloud.developer, &cloud.lead, &cloud.finance, &cloud.op};
  for (size_t role = 0; role < seats.size(); ++role) {
    const std::string seat = cloud.Get("/v1/seat", *seats[role]).body;
    for (const Route& route : cloud.Routes()) {
      if (!route.needs) continue;
      const auto row = std::ranges::find_if(Matrix(), [&](const MatrixRow& one) {
        return one.method == route.method && one.route == route.path;
      });
      ASSERT_NE(row, Matrix().end());
      const std::string name = fmt::format("\"{}\"", CapabilityName(*route.needs));
      EXPECT_EQ(row->status[role + 1] != 403, seat.find(name) != std::string::npos) << route.path << seat;
    }
  }
}

// ---- whose things ----

TEST(Scopes, ALeadManagesTheOwnTeamsKeysAndNoOthers) {
  Cloud cloud;
  for (const std::string& theirs : {std::to_string(cloud.blue.key.id), cloud.blue.key.prefix,
                                    std::to_string(cloud.op.key.id), std::to_string(cloud.finance.key.id)}) {
    const Answer rotate = cloud.Post("/admin/v1/keys/" + theirs + "/rotate", cloud.lead);
    EXPECT_EQ(rotate.status, 404) << theirs;
    EXPECT_EQ(cloud.Ask(Method::kDelete, "/admin/v1/keys/" + theirs, cloud.lead.secret).status, 404)
        << theirs;
  }
  EXPECT_EQ(cloud.Get("/v1/seat", cloud.blue).status, 200) << "still works";
  EXPECT_EQ(cloud.Get("/v1/seat", cloud.op).status, 200);

  const std::string list = cloud.Get("/admin/v1/keys", cloud.lead).body;
  EXPECT_THAT(list, AllOf(HasSubstr("mine"), HasSubstr("colleague"), Not(HasSubstr("blue"))));
  EXPECT_EQ(cloud.Get("/admin/v1/keys?team=red", cloud.lead).body, list);
  EXPECT_THAT(cloud.Get("/admin/v1/teams", cloud.lead).body, AllOf(HasSubstr("red"), Not(HasSubstr("blue"))));
  EXPECT_EQ(
      cloud.Post("/admin/v1/keys/" + std::to_string(cloud.colleague.key.id) + "/rotate", cloud.lead).status,
      200);
}

TEST(Scopes, AnotherTeamAndNoneAtAllLookTheSame) {
  Cloud cloud;
  for (const std::string_view path : {"/admin/v1/keys?team=", "/admin/v1/usage?team=", "/v1/usage?team="}) {
    const Answer theirs = cloud.Get(std::string(path) + "blue", cloud.lead);
    const Answer none = cloud.Get(std::string(path) + "none", cloud.lead);
    EXPECT_EQ(theirs.status, 404);
    EXPECT_EQ(theirs.body, Replaced(none.body, "none", "blue"));
  }
  const Answer theirs = cloud.Post("/admin/v1/keys", cloud.lead, R"({"team":"blue"})");
  const Answer none = cloud.Post("/admin/v1/keys", cloud.lead, R"({"team":"none"})");
  EXPECT_EQ(theirs.status, 404);
  EXPECT_EQ(theirs.body, Replaced(none.body, "none", "blue"));
}

TEST(Scopes, ALeadMakesKeysOfTheOwnTeamThatMayNoMoreThanItsOwn) {
  Cloud cloud;
  const Answer made = cloud.Post("/admin/v1/keys", cloud.lead, R"({"role":"team_lead"})");
  EXPECT_EQ(made.status, 201);
  EXPECT_EQ(Text(made.Json().at("team")), "red") << "of the own team unless said otherwise";
  for (const char* role : {"operator", "finance"}) {
    const Answer refused = cloud.Post("/admin/v1/keys", cloud.lead, fmt::format(R"({{"role":"{}"}})", role));
    EXPECT_EQ(refused.status, 403) << role;
    EXPECT_THAT(refused.Error("message"), AllOf(HasSubstr("team_lead"), HasSubstr(role)));
  }

  const auto scoped = cloud.Key("red", Role::kTeamLead, "scoped", {"tiny"});
  const Answer same = cloud.Post("/admin/v1/keys", scoped, "{}");
  EXPECT_EQ(Text(same.Json().at("models").at(0)), "tiny") << "the own scope, not all models";
  EXPECT_EQ(cloud.Post("/admin/v1/keys", scoped, R"({"models":["tiny","big"]})").status, 403);
  const std::string wider = std::to_string(cloud.developer.key.id);
  EXPECT_EQ(cloud.Post("/admin/v1/keys/" + wider + "/rotate", scoped).status, 403)
      << "rotating a wider key would hand over its secret";
}

TEST(Scopes, RequestsAreSeenByTheirKeyTheirLeadFinanceAndTheOperator) {
  Cloud cloud;
  const std::string path = "/v1/requests/" + cloud.Request(cloud.developer);
  for (const CreatedKey* who : {&cloud.developer, &cloud.lead, &cloud.finance, &cloud.op}) {
    for (const char* prefix : {"", "/admin"}) EXPECT_EQ(cloud.Get(prefix + path, *who).status, 200);
  }
  for (const CreatedKey* who : {&cloud.colleague, &cloud.blue, &cloud.blue_lead}) {
    for (const char* prefix : {"", "/admin"}) {
      const Answer answer = cloud.Get(prefix + path, *who);
      EXPECT_EQ(answer.status, 404);
      EXPECT_THAT(answer.body, Not(HasSubstr("red")));
    }
  }
}

TEST(Scopes, UsageIsTheKeysTheTeamsOrEveryones) {
  Cloud cloud;
  for (const CreatedKey* who : {&cloud.developer, &cloud.developer, &cloud.colleague, &cloud.blue}) {
    cloud.Request(*who);
  }
  const auto requests = [&](const std::string& path, const CreatedKey& who) {
    int64_t sum = 0;
    for (const auto& row : cloud.Get(path, who).Json().at("data").as_array()) {
      sum += row.at("requests").as_int64();
    }
    return sum;
  };
  for (const std::string path : {"/v1/usage", "/admin/v1/usage"}) {
    EXPECT_EQ(requests(path, cloud.developer), 2);
    EXPECT_EQ(requests(path, cloud.colleague), 1);
    EXPECT_EQ(requests(path, cloud.lead), 3);
    EXPECT_EQ(requests(path, cloud.blue_lead), 1);
    EXPECT_EQ(requests(path, cloud.finance), 4);
    EXPECT_EQ(requests(path, cloud.op), 4);
    EXPECT_EQ(requests(path + "?team=blue", cloud.finance), 1);
    EXPECT_EQ(requests(path + "?key=" + std::to_string(cloud.colleague.key.id), cloud.lead), 1);
    for (const CreatedKey* who : {&cloud.developer, &cloud.lead}) {
      EXPECT_EQ(cloud.Get(path + "?key=" + std::to_string(cloud.blue.key.id), *who).status, 404);
    }
    EXPECT_EQ(cloud.Get(path + "?key=" + std::to_string(cloud.colleague.key.id), cloud.developer).status,
              404);
    EXPECT_THAT(cloud.Get(path + "?by_key=1", cloud.lead).body, Not(HasSubstr("blue")));
    const auto soon = fmt::format("&until={}", cloud.clock.Wall() / kSecond + 3600);
    for (const std::string& by : {"?by=hour" + soon, "?by=day" + soon, "?by=day&utc_offset=-16200" + soon}) {
      for (const auto& [who, sum] :
           {std::pair(&cloud.developer, 2), std::pair(&cloud.colleague, 1), std::pair(&cloud.lead, 3),
            std::pair(&cloud.blue_lead, 1), std::pair(&cloud.finance, 4), std::pair(&cloud.op, 4)}) {
        EXPECT_EQ(requests(path + by, *who), sum) << path << by;
      }
      EXPECT_EQ(requests(path + by + "&team=blue", cloud.finance), 1);
      EXPECT_EQ(cloud.Get(path + by + "&team=blue", cloud.lead).status, 404);
      EXPECT_THAT(cloud.Get(path + by + "&by_key=1", cloud.lead).body, Not(HasSubstr("blue")));
    }
    for (const char* wrong : {"?by=week", "?by=day&utc_offset=x", "?by=day&utc_offset=99999"}) {
      EXPECT_EQ(cloud.Get(path + wrong, cloud.op).status, 400) << wrong;
    }
  }
}

// ---- logins and rotation ----

TEST(Logins, DoAsTheirKeyDoesAndAreRevokedByTheirOwnerTheirLeadOrTheOperator) {
  Cloud cloud;
  for (const CreatedKey* who : {&cloud.developer, &cloud.lead, &cloud.op}) {
    const Answer made = cloud.Post("/v1/logins", cloud.developer, R"({"name":"login ann@laptop"})");
    ASSERT_EQ(made.status, 201) << made.body;
    const std::string token = Text(made.Json().at("secret")),
                      id = std::to_string(made.Json().at("id").as_int64());
    const auto seat = cloud.Ask(Method::kGet, "/v1/seat", token).Json();
    EXPECT_EQ(Text(seat.at("key").at("name")), "login ann@laptop");
    EXPECT_TRUE(seat.at("key").at("login").as_bool());
    EXPECT_EQ(Text(seat.at("role")), "developer");
    EXPECT_EQ(cloud.Ask(Method::kPost, "/v1/chat/completions", token, testing::Chat()).status, 200);
    EXPECT_EQ(cloud.Ask(Method::kPost, "/v1/logins", token).status, 403) << "a login makes no logins";
    EXPECT_THAT(cloud.Get("/admin/v1/keys", *who).body, HasSubstr("ann@laptop"));
    EXPECT_THAT(cloud.Get("/admin/v1/keys", cloud.colleague).body, Not(HasSubstr("ann@laptop")));
    for (const CreatedKey* other : {&cloud.colleague, &cloud.blue_lead}) {
      EXPECT_EQ(cloud.Ask(Method::kDelete, "/admin/v1/keys/" + id, other->secret).status, 404);
    }
    EXPECT_EQ(cloud.Ask(Method::kDelete, "/admin/v1/keys/" + id, who->secret).status, 200);
    EXPECT_EQ(cloud.Ask(Method::kGet, "/v1/seat", token).status, 401);
    EXPECT_EQ(cloud.Get("/v1/seat", cloud.developer).status, 200);
  }
}

TEST(Logins, SeeTheUsageOfTheirKeyAndAddToIt) {
  Cloud cloud;
  auto login = *cloud.Await<Result<CreatedKey>>(
      [&](auto done) { cloud.accounts->CreateLogin(cloud.developer.key.id, "login ann@laptop", done); });
  cloud.Request(cloud.developer);
  cloud.Request(login);
  for (const CreatedKey* who : {&cloud.developer, &login}) {
    const auto rows = cloud.Get("/v1/usage?by_key=1", *who).Json().at("data").as_array();
    ASSERT_EQ(rows.size(), 1);
    EXPECT_EQ(rows[0].at("requests").as_int64(), 2);
    EXPECT_EQ(Text(rows[0].at("key")), "mine");
  }
}

TEST(Rotation, TheOldSecretWorksUntilTheOverlapIsOverAndNotAfter) {
  Cloud cloud;
  const std::string path = "/admin/v1/keys/" + std::to_string(cloud.developer.key.id) + "/rotate";
  cloud.Request(cloud.developer);
  const Answer rotated = cloud.Post(path, cloud.lead, R"({"overlap":100})");
  ASSERT_EQ(rotated.status, 200) << rotated.body;
  const std::string renewed = Text(rotated.Json().at("secret"));
  const auto chat = [&](const std::string& secret) {
    return cloud.Ask(Method::kPost, "/v1/chat/completions", secret, testing::Chat()).status;
  };
  EXPECT_EQ(rotated.Json().at("old").at("id").as_int64(), cloud.developer.key.id);
  EXPECT_EQ(rotated.Json().at("old").at("expires").as_int64(), cloud.clock.Wall() / kSecond + 100);
  cloud.clock.Advance(99 * kSecond);
  EXPECT_EQ(chat(cloud.developer.secret), 200);
  EXPECT_EQ(chat(renewed), 200);
  cloud.clock.Advance(kSecond);
  EXPECT_EQ(chat(cloud.developer.secret), 401);
  EXPECT_EQ(chat(renewed), 200);
  cloud.accounts->Flush();
  const auto rows = cloud.Ask(Method::kGet, "/v1/usage", renewed).Json().at("data").as_array();
  ASSERT_EQ(rows.size(), 1);
  EXPECT_EQ(rows[0].at("requests").as_int64(), 4) << "the new secret sees what the old one used";
}

TEST(Scopes, ADeveloperEndsTheOwnKeyAndNoOther) {
  Cloud cloud;
  const auto end = [&](const CreatedKey& key) {
    return cloud.Ask(Method::kDelete, "/admin/v1/keys/" + std::to_string(key.key.id), cloud.developer.secret)
        .status;
  };
  EXPECT_EQ(end(cloud.colleague), 404);
  EXPECT_EQ(end(cloud.lead), 404);
  EXPECT_EQ(end(cloud.developer), 200);
  EXPECT_EQ(cloud.Get("/v1/seat", cloud.developer).status, 401);
  EXPECT_EQ(cloud.Get("/v1/seat", cloud.colleague).status, 200);
}

}  // namespace
}  // namespace penstock::gateway
