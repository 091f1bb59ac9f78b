#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <mutex>
#include <optional>
#include <thread>

#include "teams/id.h"
#include "teams/sqlite.h"
#include "teams/teams.h"
#include "teams/testing.h"

namespace penstock {
namespace {

using testing::TempDir;
using testing::World;

TEST(Accounts, ARequestRunsFromOpenToEndAndIsFoundInBothStates) {
  World world;
  const Principal who = world.NewPrincipal("red");
  auto ticket = world.Open(who, "qwen", 20);
  world.Durable(*ticket);
  ticket->Event("queued", "0 waited before it");
  ticket->Cached(16);
  ticket->Emitted(3);
  ticket->Billed(2);
  ticket->Charged(5000, 22);

  const std::string id = ticket->id();
  auto running = *world.Find(id);
  EXPECT_EQ(running.state, "running");
  EXPECT_EQ(running.usage.billed, 2);
  ticket->End("stop", "");
  ticket->Billed(100);  // too late
  EXPECT_EQ(world.Find(id)->state, "ended") << "at once, from memory";
  ticket.reset();
  world.Settle();

  const auto ended = *world.Find(id);
  EXPECT_EQ(ended.state, "ended");
  EXPECT_EQ(ended.outcome, "stop");
  EXPECT_EQ(ended.team_name, "red");
  EXPECT_EQ(ended.model, "qwen");
  EXPECT_EQ(ended.prompt, 20);
  EXPECT_EQ(ended.usage.input, 20);
  EXPECT_EQ(ended.usage.cached, 16);
  EXPECT_EQ(ended.usage.billed, 2);
  EXPECT_EQ(ended.emitted, 3);
  EXPECT_EQ(ended.computed, 22);
  EXPECT_EQ(ended.chip_ns, 5000);
  ASSERT_EQ(ended.trail.size(), 2u);
  EXPECT_EQ(ended.trail[0].kind, "queued");
  EXPECT_EQ(ended.trail[0].why, "0 waited before it");
  EXPECT_EQ(ended.trail[1].kind, "ended");
}

// ---- the billing rule ----

TEST(Billing, NothingIsBilledBeforeOutputWasAcceptedButWhatWasComputedCounts) {
  World world;
  auto ticket = world.Open(world.NewPrincipal("red"), "qwen", 20);
  const std::string id = ticket->id();
  ticket->Cached(16);
  ticket->Emitted(3);
  ticket->Charged(5000, 22);
  EXPECT_EQ(ticket->usage().input, 0);
  EXPECT_EQ(ticket->usage().cached, 0);
  ticket->End("cancelled", "the client left");
  ticket.reset();
  for (const bool stored : {false, true}) {
    if (stored) world.Settle();
    const auto record = *world.Find(id);
    EXPECT_EQ(record.prompt, 20);
    EXPECT_EQ(record.usage.input, 0);
    EXPECT_EQ(record.usage.cached, 0);
    EXPECT_EQ(record.computed, 22);
    const auto rows = *world.UsageOf({});
    ASSERT_EQ(rows.size(), 1u);
    EXPECT_EQ(rows[0].requests, 1);
    EXPECT_EQ(rows[0].input, 0);
    EXPECT_EQ(rows[0].cached_input, 0);
    EXPECT_EQ(rows[0].chip_ns, 5000);
  }
}

TEST(Billing, TheFirstAcceptedOutputBillsThePromptOnceAndAnEmptyAnswerDoes) {
  World world;
  const Principal who = world.NewPrincipal("red");
  auto ticket = world.Open(who, "qwen", 20), empty = world.Open(who, "qwen", 7);
  ticket->Billed(1);
  ticket->Billed(1);
  EXPECT_EQ(ticket->usage().input, 20);
  empty->Billed(0);
  EXPECT_EQ(empty->usage().input, 7);
  EXPECT_EQ(empty->usage().billed, 0);
  ticket->End("stop", "");
  empty->End("stop", "");
  world.Settle();
  EXPECT_EQ(world.UsageOf({})->at(0).input, 27);
}

TEST(Billing, AGatewayThatIsKilledBeforeTheFirstOutputBillsNothing) {
  TempDir dir, copy;
  std::string waiting, streaming;
  {
    World world(dir.path);
    const Principal who = world.NewPrincipal("red");
    auto one = world.Open(who, "qwen", 20), two = world.Open(who, "qwen", 30);
    waiting = one->id();
    streaming = two->id();
    one->Charged(5000, 20);
    two->Billed(4);
    world.Durable(*one);
    world.Durable(*two);
    std::filesystem::copy(dir.path, copy.path + "/killed");
  }
  World world(copy.path + "/killed");
  EXPECT_EQ(world.Find(waiting)->usage.input, 0);
  EXPECT_EQ(world.Find(waiting)->prompt, 20);
  EXPECT_EQ(world.Find(waiting)->chip_ns, 5000);
  EXPECT_EQ(world.Find(streaming)->usage.input, 30);
  EXPECT_EQ(world.UsageOf({})->at(0).input, 30);
}

// ---- limits ----

TEST(Limit, IsLoweredByIdAndTellsTheRequestButNeverGoesBelowWhatWasEmitted) {
  World world;
  auto ticket = world.Open(world.NewPrincipal("red"), "qwen", 20);
  std::vector<int64_t> told;
  ticket->OnLimit([&](int64_t limit) { told.push_back(limit); });
  EXPECT_FALSE(ticket->limit());
  EXPECT_EQ(*world->SetLimit(ticket->id(), 10), 10);
  EXPECT_EQ(*world->SetLimit(ticket->id(), 50), 10) << "it is never raised";
  ticket->Emitted(4);
  EXPECT_EQ(ticket->SetLimit(2), 4);
  EXPECT_EQ(told, (std::vector<int64_t>{10, 4}));
  const std::string id = ticket->id();
  ticket->End("length", "");
  EXPECT_EQ(world->SetLimit(id, 1).error().code, Code::kNotFound);
}

TEST(Accounts, ATicketThatIsDroppedEndsAsAnErrorWithWhatWasBilled) {
  World world;
  auto ticket = world.Open(world.NewPrincipal("red"), "qwen", 5);
  const std::string id = ticket->id();
  ticket->Billed(7);
  ticket.reset();
  world.Settle();
  EXPECT_EQ(world.Find(id)->outcome, "error");
  EXPECT_EQ(world.Find(id)->usage.billed, 7);
}

TEST(Accounts, UsageIsTheSumOfEndedRequestsAndEachIsCountedOnce) {
  World world;
  const Principal red = world.NewPrincipal("red"), blue = world.NewPrincipal("blue");
  for (int i = 0; i < 30; ++i) {
    auto ticket = world.Open(i % 3 == 0 ? blue : red, i % 2 == 0 ? "qwen" : "smol", 10);
    ticket->Cached(4);
    ticket->Billed(i);
    ticket->End("stop", "");
    // Some ends are durable by now, some are not; none may be missing or counted twice.
    if (i % 7 == 0) world.Settle();
    int64_t requests = 0, output = 0;
    for (const auto& row : *world.UsageOf({})) requests += row.requests, output += row.output;
    ASSERT_EQ(requests, i + 1);
    ASSERT_EQ(output, i * (i + 1) / 2);
  }
  world.Settle();
  const auto rows = *world.UsageOf({});
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[0].team, "blue");
  EXPECT_EQ(rows[0].model, "qwen");
  EXPECT_EQ(rows[0].requests, 5);
  EXPECT_EQ(rows[0].input, 50);
  EXPECT_EQ(rows[0].cached_input, 20);
  EXPECT_EQ(rows[0].key, "");

  UsageQuery by_key;
  by_key.team = red.team;
  by_key.model = "smol";
  by_key.by_key = true;
  const auto narrow = *world.UsageOf(by_key);
  ASSERT_EQ(narrow.size(), 1u);
  EXPECT_EQ(narrow[0].requests, 10);
  EXPECT_EQ(narrow[0].key, red.key_name);
}

TEST(Accounts, UsageTellsWhatWasCountedAsAnUpstreamDoesBeforeAndAfterItIsStored) {
  World world;
  const Principal who = world.NewPrincipal("red");
  auto exact = world.Open(who, "qwen", 10), mixed = world.Open(who, "qwen", 10);
  exact->Billed(5);
  mixed->Billed(3);
  mixed->Billed(4);
  mixed->Reported(4);
  EXPECT_EQ(mixed->usage().reported, 4);
  for (const auto& ticket : {exact.get(), mixed.get()}) ticket->End("stop", "");
  const auto told = [&] {
    const UsageRow row = world.UsageOf({})->at(0);
    return std::pair(row.output, row.reported);
  };
  EXPECT_EQ(told(), std::pair(int64_t{12}, int64_t{4}));
  world.Settle();
  EXPECT_EQ(told(), std::pair(int64_t{12}, int64_t{4}));
  UsageQuery by_hour;
  by_hour.bucket = 3600 * kSecond;
  by_hour.until = world.clock.Wall() + kSecond;
  EXPECT_EQ(world.UsageOf(by_hour)->at(0).reported, 4);
  EXPECT_EQ(world.Find(exact->id())->usage.reported, 0);
  EXPECT_EQ(world.Find(mixed->id())->usage.reported, 4);
}

TEST(Accounts, UsageOfATimeSpanIsExactToTheMillisecond) {
  World world;
  const Principal who = world.NewPrincipal("red");
  std::vector<Nanos> opened;
  for (int i = 0; i < 60; ++i) {
    auto ticket = world.Open(who, "qwen", 1);
    opened.push_back(world.clock.Wall());
    ticket->End("stop", "");
    world.clock.Advance(7 * 60 * kSecond);  // 60 requests over 7 hours
  }
  world.Settle();
  for (size_t from = 0; from < opened.size(); from += 3) {
    for (size_t to = from; to < opened.size(); to += 5) {
      const auto rows =
          *world.UsageOf({.team = {}, .key = {}, .model = {}, .since = opened[from], .until = opened[to]});
      ASSERT_EQ(rows.empty() ? 0 : rows[0].requests, static_cast<int64_t>(to - from)) << from << " " << to;
    }
  }
}

// Against each hour or day asked for by itself.
TEST(Accounts, UsageByHourAndByDayIsWhatEachHourAndDayHas) {
  World world;
  const Principal red = world.NewPrincipal("red"), blue = world.NewPrincipal("blue");
  const Nanos first = world.clock.Wall();
  for (int i = 0; i < 200; ++i) {
    auto ticket = world.Open(i % 3 == 0 ? blue : red, "qwen", i);
    ticket->End("stop", "");
    if (i == 100) world.clock.Advance(60 * 3600 * kSecond);  // days without anything
    world.clock.Advance(17 * 60 * kSecond);
    if (i % 50 == 0) world.Settle();  // the others' ends may not be in the store yet
  }
  const Nanos now = world.clock.Wall();
  const auto key = [](const UsageRow& row) { return std::tuple(row.team, row.requests, row.input); };
  for (const Nanos bucket : {3600 * kSecond, 24 * 3600 * kSecond}) {
    for (const Nanos zone : {Nanos{0}, 28800 * kSecond, -12600 * kSecond, 20700 * kSecond}) {
      UsageQuery query{.team = {}, .key = {}, .model = {}, .since = first + 5 * kSecond, .until = now};
      query.bucket = bucket;
      query.zone = zone;
      const auto rows = *world.UsageOf(query);
      int64_t requests = 0;
      for (size_t i = 0; i < rows.size(); ++i) {
        requests += rows[i].requests;
        EXPECT_TRUE((rows[i].since + zone) % bucket == 0 || rows[i].since == query.since);
        EXPECT_TRUE((rows[i].until + zone) % bucket == 0 || rows[i].until == now);
        EXPECT_LE(rows[i].until - rows[i].since, bucket);
        UsageQuery alone{.team = {}, .key = {}, .model = {}, .since = rows[i].since, .until = rows[i].until};
        const auto one = *world.UsageOf(alone);
        EXPECT_EQ(std::ranges::count_if(one, [&](const auto& row) { return key(row) == key(rows[i]); }), 1);
      }
      EXPECT_EQ(requests, 199) << "the first came before the time asked for";
    }
  }
}

TEST(Accounts, UsageIsOfTheHourInWhichTheRequestWasOpenedThoughTheClockWasFarAheadBefore) {
  constexpr Nanos kHour = 3600 * kSecond, kJump = 400 * 24 * kHour;
  World world;
  const Principal who = world.NewPrincipal("red");
  const Nanos today = world.clock.Wall();
  const auto use = [&](int64_t tokens) {
    auto ticket = world.Open(who, "tiny", 1);
    ticket->Billed(tokens);
    ticket->End("stop", "");
    world.Settle();
  };
  world.clock.Advance(kJump);
  use(1);
  world.clock.Advance(-kJump);
  use(10);
  world.clock.Advance(2 * kHour);
  use(100);
  const auto output = [&](Nanos since, Nanos until) {
    const auto rows = *world.UsageOf({.team = {}, .key = {}, .model = {}, .since = since, .until = until});
    return rows.empty() ? 0 : rows.at(0).output;
  };
  EXPECT_EQ(output(today - kHour, today + kHour), 10);
  EXPECT_EQ(output(today + kHour, today + 3 * kHour), 100);
  EXPECT_EQ(output(today - kHour, today + 3 * kHour), 110);
  EXPECT_EQ(output(today + kJump - kHour, today + kJump + kHour), 1);
  EXPECT_EQ(output(today, today + 1 * kSecond), 10) << "from the requests themselves";
  const auto hours = *world.UsageOf({.team = {},
                                     .key = {},
                                     .model = {},
                                     .since = 0,
                                     .until = today + 3 * kHour,
                                     .by_key = false,
                                     .bucket = kHour});
  ASSERT_EQ(hours.size(), 2);
  EXPECT_EQ(hours.at(0).output, 10);
  EXPECT_EQ(hours.at(1).output, 100);
}

TEST(Accounts, UsageByHourBeginsWithTheFirstUseAndSaysWhenItIsTooMuch) {
  World world;
  UsageQuery query;
  query.bucket = 3600 * kSecond;
  query.until = world.clock.Wall();
  EXPECT_TRUE(world.UsageOf(query)->empty());
  world.Open(world.NewPrincipal("red"), "qwen", 1)->End("stop", "");
  query.until = world.clock.Wall() + 3600 * kSecond;
  ASSERT_EQ(world.UsageOf(query)->size(), 1u) << "not from 1970 on";
  EXPECT_EQ(world.UsageOf(query)->at(0).since % query.bucket, 0);
  query.until += 2000 * query.bucket;
  const auto refused = world.UsageOf(query);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Code::kInvalid);
  EXPECT_NE(refused.error().message.find("or by day"), std::string::npos) << refused.error().message;
}

TEST(Accounts, IdsAreUniqueAndInTheOrderOfTime) {
  IdSource source(0);
  RequestId last;
  for (int i = 0; i < 10000; ++i) {
    const RequestId id = source.Next(1'700'000'000 * kSecond + i / 100 * kMillisecond);
    ASSERT_GT(id.sequence, last.sequence);
    ASSERT_EQ(*ParseId(FormatId(id)), id);
    if (i > 0) ASSERT_GT(FormatId(id), FormatId(last));
    last = id;
  }
  EXPECT_GT(source.Next(0).sequence, last.sequence) << "even if the clock is put back";
  for (const char* bad :
       {"", "req_", "req_0123", "req_zzzzzzzzzzzzzzzzzzzzzzzzzz", "req_0000000000000000000000000U",
        "xyz_00000000000000000000000000", "req_000000000000000000000000000"}) {
    EXPECT_EQ(ParseId(bad).error().code, Code::kInvalid) << bad;
  }
}

TEST(Accounts, AnUnknownRequestIsNotFound) {
  World world;
  auto ticket = world.Open(world.NewPrincipal("red"), "qwen", 5);
  std::string other = ticket->id();
  other.back() = other.back() == '0' ? '1' : '0';
  EXPECT_EQ(world.Find(other).error().code, Code::kNotFound) << "one cannot guess the rest of an id";
  EXPECT_EQ(world.Find("bananas").error().code, Code::kInvalid);
}

TEST(Accounts, TeamsKeysAndUsageSurviveARestart) {
  TempDir dir;
  std::string secret, id;
  {
    World world(dir.path);
    const CreatedKey key = world.NewKey("red");
    secret = key.secret;
    auto ticket = world.Open(*world->Authenticate(secret), "qwen", 11);
    ticket->Billed(5);
    ticket->End("length", "");
    id = ticket->id();
    world->Flush();
  }
  World world(dir.path);
  EXPECT_EQ(world->Authenticate(secret)->team_name, "red");
  EXPECT_EQ(world->Teams().size(), 1u);
  EXPECT_EQ(world.Find(id)->outcome, "length");
  EXPECT_EQ(world.UsageOf({})->at(0).output, 5);
}

TEST(Accounts, WhatAClosedProcessLeftOpenIsEndedWithItsCounters) {
  TempDir dir;
  std::string id;
  std::unique_ptr<Ticket> survivor;
  {
    World world(dir.path);
    survivor = world.Open(world.NewPrincipal("red"), "qwen", 11);
    survivor->Cached(8);
    survivor->Billed(5);
    survivor->Reported(2);
    world.Durable(*survivor);
    id = survivor->id();
  }
  survivor->End("stop", "");  // nobody is there to write it
  survivor.reset();
  World world(dir.path);
  const auto record = *world.Find(id);
  EXPECT_EQ(record.state, "ended");
  EXPECT_EQ(record.outcome, "gateway_restarted");
  EXPECT_EQ(record.usage.billed, 5);
  EXPECT_EQ(record.usage.cached, 8);
  EXPECT_EQ(record.usage.reported, 2);
  EXPECT_EQ(world.UsageOf({})->at(0).output, 5);
}

TEST(Accounts, AGracefulStopLeavesEverythingInTheStoreItself) {
  TempDir dir;
  {
    World(dir.path).NewKey("red");
  }
  std::filesystem::remove(dir.path + "/penstock.db-wal");
  EXPECT_EQ(World(dir.path)->Teams().size(), 1u);
}

TEST(Accounts, TwoProcessesCannotHaveOneStore) {
  TempDir dir;
  World world(dir.path);
  const auto second = OpenAccounts({dir.path, 16, [](auto) {}}, world.clock);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kConflict);
  EXPECT_NE(second.error().message.find(std::to_string(::getpid())), std::string::npos);
}

TEST(Accounts, AStoreOfANewerVersionIsLeftAlone) {
  TempDir dir;
  {
    World world(dir.path);
  }
  {
    auto database = *Database::Open(dir.path + "/penstock.db", Database::Mode::kReadWrite);
    ASSERT_TRUE(database.Execute("PRAGMA user_version=99"));
  }
  const auto opened = OpenAccounts({dir.path, 16, [](auto) {}}, SystemClock());
  EXPECT_EQ(opened.error().code, Code::kUnsupported);
}

TEST(Accounts, AStoreOfTheFirstVersionIsBroughtUpToDate) {
  TempDir dir;
  std::string secret;
  {
    World world(dir.path);
    secret = world.NewKey("red").secret;
  }
  {
    auto database = *Database::Open(dir.path + "/penstock.db", Database::Mode::kReadWrite);
    ASSERT_TRUE(database.Execute(
        "ALTER TABLE keys DROP COLUMN parent; ALTER TABLE keys DROP COLUMN login;"
        "ALTER TABLE teams DROP COLUMN removed; ALTER TABLE teams DROP COLUMN external; DROP TABLE upgrades;"
        "ALTER TABLE requests DROP COLUMN reported; ALTER TABLE usage DROP COLUMN reported;"
        "ALTER TABLE requests DROP COLUMN input; DROP INDEX requests_opened;"
        "PRAGMA user_version=1"));
  }
  World world(dir.path);
  const auto who = world->Authenticate(secret);
  ASSERT_TRUE(who);
  EXPECT_EQ(who->key, who->shown) << "a key of its own";
  EXPECT_TRUE(world.CreateLogin(who->key, "login"));
}

TEST(Accounts, ADamagedStoreSaysSoAndTheWayOut) {
  TempDir dir;
  testing::WriteFile(dir.path + "/penstock.db", std::string(8192, 'x'));
  const auto opened = OpenAccounts({dir.path, 16, [](auto) {}}, SystemClock());
  EXPECT_EQ(opened.error().code, Code::kCorrupt);
  EXPECT_NE(opened.error().message.find("restore"), std::string::npos) << opened.error().message;
}

TEST(Accounts, ADamagedJournalIsSetAsideAndItsOpenRequestsEnd) {
  TempDir dir;
  std::string id;
  std::unique_ptr<Ticket> survivor;
  {
    World world(dir.path);
    survivor = world.Open(world.NewPrincipal("red"), "qwen", 11);
    survivor->Billed(5);
    world.Durable(*survivor);
    id = survivor->id();
  }
  survivor.reset();
  testing::WriteFile(dir.path + "/journal", "damage");
  World world(dir.path);
  EXPECT_EQ(world.Find(id)->outcome, "gateway_restarted");
  EXPECT_EQ(world.Find(id)->usage.billed, 0);
  EXPECT_TRUE(std::filesystem::exists(dir.path + "/journal.damaged"));
}

TEST(Accounts, FilesAreOnlyForTheirOwner) {
  World world;
  auto ticket = world.Open(world.NewPrincipal("red"), "qwen", 11);
  world.Durable(*ticket);
  for (const auto& file : std::filesystem::directory_iterator(world.dir())) {
    struct stat info{};
    ASSERT_EQ(::stat(file.path().c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 077, 0u) << file.path();
  }
}

TEST(Accounts, WhenEveryJournalSlotIsTakenTheNextRequestIsAskedToTryAgain) {
  World world({}, 4);
  const Principal who = world.NewPrincipal("red");
  std::vector<std::unique_ptr<Ticket>> open;
  for (int i = 0; i < 4; ++i) open.push_back(world.Open(who, "qwen", 1));
  EXPECT_EQ(world->Open(who, "qwen", 1).error().code, Code::kOverloaded);
  open.pop_back();
  world.Settle();
  EXPECT_TRUE(world->Open(who, "qwen", 1));
}

TEST(Accounts, ReportsOfOneTeamDoNotWaitForThoseOfAnother) {
  World world;
  const Principal red = world.NewPrincipal("red");
  for (int i = 0; i < 500; ++i) {
    auto ticket = world.Open(red, fmt::format("m{}", i), 10);
    ticket->End("stop", "");
    if (i % 50 == 49) world.Settle();
  }
  int greedy = 0;
  std::optional<int> ahead;
  UsageQuery query;
  query.by_key = true;
  for (int i = 0; i < 400; ++i) {
    world->UsageOf(query, red.team, [&](const auto& rows) { greedy += rows.has_value(); });
  }
  world->UsageOf(query, red.team + 1, [&](const auto& rows) {
    ASSERT_TRUE(rows);
    EXPECT_EQ(rows->size(), 500u);
    ahead = greedy;
  });
  EXPECT_EQ(greedy, 0) << "nothing is read in the call";
  world.RunUntil([&] { return ahead && greedy == 400; });
  EXPECT_LT(*ahead, 200);
}

}  // namespace
}  // namespace penstock
