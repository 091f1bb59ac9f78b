#include "teams/snapshot.h"

#include <gtest/gtest.h>

#include <atomic>

#include "teams/testing.h"

namespace penstock {
namespace {

using testing::TempDir;
using testing::World;

TEST(Snapshot, AnOpenRequestIsOpenInTheCopyAndEndsThereWithWhatWasBilledByThen) {
  TempDir copy;
  World world;
  const CreatedKey key = world.NewKey("red");
  const Principal who = *world->Authenticate(key.secret);
  auto ended = world.Open(who, "qwen", 5), open = world.Open(who, "qwen", 10);
  world.Durable(*open);
  ended->Billed(3);
  ended->End("stop", "");
  open->Billed(7);
  open->Reported(1);
  world.Settle();

  ASSERT_TRUE(CopyStore(world.dir(), copy.path));
  EXPECT_EQ(*CheckStore(copy.path),
            (StoreCounts{.teams = 1, .keys = 1, .requests = 2, .open = 1, .input = 5, .output = 3}));
  open->Billed(100);
  open->End("stop", "");
  world.Settle();

  World other(copy.path);
  EXPECT_TRUE(other->Authenticate(key.secret));
  EXPECT_EQ(other.Find(ended->id())->usage.billed, 3);
  EXPECT_EQ(other.Find(open->id())->outcome, "gateway_restarted");
  EXPECT_EQ(other.Find(open->id())->usage.billed, 7);
  EXPECT_EQ(other.Find(open->id())->usage.reported, 1);
  EXPECT_EQ(other.UsageOf({})->at(0).output, 10);
  EXPECT_EQ(world.Find(open->id())->usage.billed, 107) << "the source knows nothing of its copy";
}

// Each copy is of one moment, however much is written meanwhile: sums fit rows, and no counters are lost.
TEST(Snapshot, CopiesMadeAmidWritingFitTogether) {
  World world({}, 4096);
  const Principal who = world.NewPrincipal("red");
  std::atomic<int> copies = 0;
  std::vector<std::unique_ptr<TempDir>> dirs;
  for (int i = 0; i < 6; ++i) dirs.push_back(std::make_unique<TempDir>());
  std::thread copier([&] {
    for (auto& dir : dirs) {
      EXPECT_TRUE(CopyStore(world.dir(), dir->path));
      ++copies;
    }
  });
  std::deque<std::unique_ptr<Ticket>> running;
  while (copies < 6) {
    if (running.size() < 32) running.push_back(world.Open(who, "qwen", 10));
    running.back()->Billed(1);
    if (running.size() == 32) {
      running.front()->Billed(2);
      running.front()->End("stop", "");
      running.pop_front();
    }
    world.RunAll();
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
  copier.join();
  running.clear();
  world.Settle();
  int64_t open = 0;
  for (auto& dir : dirs) {
    const auto counts = CheckStore(dir->path);
    ASSERT_TRUE(counts) << counts.error().message;
    open += counts->open;
    {
      const auto store = *Database::Open(dir->path + "/penstock.db", Database::Mode::kReadOnly);
      EXPECT_EQ(*store.QueryInt("SELECT coalesce(sum(billed), 0) FROM requests WHERE ended<>0"),
                counts->output);
      EXPECT_EQ(*store.QueryInt("SELECT count(*) FROM requests WHERE ended<>0"),
                counts->requests - counts->open);
    }
    World other(dir->path);
    const auto store = *Database::Open(dir->path + "/penstock.db", Database::Mode::kReadOnly);
    EXPECT_EQ(*store.QueryInt("SELECT count(*) FROM requests WHERE ended=0"), 0);
    EXPECT_EQ(*store.QueryInt("SELECT count(*) FROM requests WHERE detail LIKE '%counters were lost%'"), 0);
    EXPECT_EQ(*store.QueryInt("SELECT sum(output) FROM usage"),
              *store.QueryInt("SELECT sum(billed) FROM requests"));
  }
  EXPECT_GT(open, 0) << "the copies are to hold open requests";
}

TEST(Snapshot, ADirectoryWhoseCloudWasKilledIsCopiedWithWhatItsJournalHolds) {
  TempDir dir, copy;
  std::string id;
  {
    World world(dir.path);
    auto ticket = world.Open(world.NewPrincipal("red"), "qwen", 10);
    world.Durable(*ticket);
    ticket->Billed(4);
    id = ticket->id();
    std::filesystem::copy(dir.path, copy.path + "/killed");
  }
  TempDir backup;
  ASSERT_TRUE(CopyStore(copy.path + "/killed", backup.path));
  World other(backup.path);
  EXPECT_EQ(other.Find(id)->usage.billed, 4);
}

TEST(Snapshot, DamageIsNamed) {
  TempDir dir, none;
  {
    World world(dir.path);
    world.NewKey("red");
  }
  TempDir copy;
  ASSERT_TRUE(CopyStore(dir.path, copy.path));
  std::filesystem::resize_file(copy.path + "/penstock.db",
                               std::filesystem::file_size(copy.path + "/penstock.db") - 4096);
  const auto damaged = CheckStore(copy.path);
  ASSERT_FALSE(damaged);
  EXPECT_EQ(damaged.error().code, Code::kCorrupt);
  EXPECT_NE(damaged.error().message.find(copy.path + "/penstock.db"), std::string::npos);
  EXPECT_EQ(CopyStore(none.path, copy.path).error().code, Code::kNotFound);
}

// ---- versions ----

// The version before the upgrades were written down.
void MakeVersion2(const std::string& dir) {
  auto database = *Database::Open(dir + "/penstock.db", Database::Mode::kReadWrite);
  ASSERT_TRUE(database.Execute(
      "ALTER TABLE teams DROP COLUMN removed; ALTER TABLE teams DROP COLUMN external; DROP TABLE upgrades;"
      "ALTER TABLE requests DROP COLUMN reported; ALTER TABLE usage DROP COLUMN reported;"
      "ALTER TABLE requests DROP COLUMN input; DROP INDEX requests_opened;"
      "PRAGMA user_version=2"));
}

TEST(Versions, AnOlderStoreIsBroughtUpToDateAndKeepsWhatItHolds) {
  TempDir dir;
  std::string secret, id;
  {
    World world(dir.path);
    secret = world.NewKey("red").secret;
    auto ticket = world.Open(*world->Authenticate(secret), "qwen", 10);
    id = ticket->id();
    ticket->Billed(3);
    ticket->End("stop", "");
    world.Settle();
  }
  MakeVersion2(dir.path);
  EXPECT_EQ(StoreVersionOf(dir.path)->version, 2);
  ASSERT_TRUE(UpgradeStore(dir.path));
  EXPECT_EQ(StoreVersionOf(dir.path)->version, kSchemaVersion);
  EXPECT_TRUE(StoreVersionOf(dir.path)->program.starts_with("Penstock "));
  World world(dir.path);
  EXPECT_TRUE(world->Authenticate(secret));
  EXPECT_EQ(world.Find(id)->usage.billed, 3);
}

TEST(Versions, AnUpgradeThatFailsChangesNothing) {
  TempDir dir;
  {
    World world(dir.path);
  }
  MakeVersion2(dir.path);
  {
    auto database = *Database::Open(dir.path + "/penstock.db", Database::Mode::kReadWrite);
    ASSERT_TRUE(database.Execute("CREATE TABLE upgrades(somebody_elses)"));
  }
  EXPECT_FALSE(UpgradeStore(dir.path));
  EXPECT_EQ(StoreVersionOf(dir.path)->version, 2);
}

TEST(Versions, AStoreOfTheFutureNamesWhoMadeIt) {
  TempDir dir;
  {
    World world(dir.path);
  }
  {
    auto database = *Database::Open(dir.path + "/penstock.db", Database::Mode::kReadWrite);
    ASSERT_TRUE(database.Execute("INSERT INTO upgrades VALUES(99, '9.9.9', 1); PRAGMA user_version=99"));
  }
  const auto opened = OpenAccounts({dir.path, 16, [](auto) {}}, SystemClock());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, Code::kUnsupported);
  EXPECT_NE(opened.error().message.find("Penstock 9.9.9"), std::string::npos) << opened.error().message;
  EXPECT_NE(opened.error().message.find("99"), std::string::npos);
}

TEST(Versions, TeamsOfAnOlderStoreThatDifferByCaseAreKeptAndTold) {
  TempDir dir;
  {
    World world(dir.path);
    ASSERT_TRUE(world.CreateTeam("red"));
    ASSERT_TRUE(world.CreateTeam("blue"));
  }
  EXPECT_TRUE(TeamsAlike(dir.path)->empty());
  {
    auto database = *Database::Open(dir.path + "/penstock.db", Database::Mode::kReadWrite);
    ASSERT_TRUE(database.Execute("INSERT INTO teams(name, created) VALUES('Red', 1)"));
  }
  const auto alike = *TeamsAlike(dir.path);
  ASSERT_EQ(alike.size(), 1);
  EXPECT_EQ(alike.at(0).at(0).name, "red");
  EXPECT_EQ(alike.at(0).at(1).name, "Red");
  World world(dir.path);
  EXPECT_EQ(world->Teams().size(), 3);
  const auto key = world.CreateKey({std::to_string(alike.at(0).at(1).id), "ci", Role::kDeveloper, {}, 0});
  EXPECT_EQ(key->key.team_name, "Red");
}

}  // namespace
}  // namespace penstock
