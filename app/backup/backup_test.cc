#include "app/backup/backup.h"

#include "app/backup/scratch.h"
#include "app/backup/upgrade.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "app/common/json_get.h"
#include "teams/mailbox.h"
#include "teams/teams.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class BackupTest : public testing::Test {
 protected:
  BackupTest() {
    char folder[] = "/tmp/penstock-backup-XXXXXX";
    folder_ = mkdtemp(folder);
    data_.emplace(*DataDir::Open(folder_ + "/data"));
    const auto accounts = Open(data_->path());
    (void)mail_.Await<Result<Team>>([&](auto done) { accounts->CreateTeam("red", done); });
    const NewKey key{.team = "red", .name = "ci", .role = Role::kDeveloper, .models = {}, .expires = 0};
    secret_ = mail_.Await<Result<CreatedKey>>([&](auto done) { accounts->CreateKey(key, done); })->secret;
    auto ticket = *accounts->Open(*accounts->Authenticate(secret_), "tiny", 10);
    ticket->Billed(7);
    ticket->End("stop", "");
    accounts->Flush();
    (void)WriteSecretFile(data_->OperatorKeyFile(), "sk-penstock-op\n");
    fs::create_directories(data_->Models() + "/tiny");
    Write(data_->Models() + "/tiny/manifest.json",
          R"({"format":1,"name":"tiny","source":"/somewhere/tiny.gguf",)"
          R"("files":[{"name":"model.gguf","sha256":"","size":7}]})");
    Write(data_->Models() + "/tiny/model.gguf", "weights");
  }
  ~BackupTest() override { fs::remove_all(folder_); }

  std::unique_ptr<Accounts> Open(const std::string& dir) {
    return *OpenAccounts(
        {.data_dir = dir, .journal_slots = 16, .post = [this](auto done) { mail_.Post(std::move(done)); }},
        SystemClock());
  }
  static void Write(const std::string& path, const std::string& text) { std::ofstream(path) << text; }
  static std::string Read(const std::string& path) { return *ReadTextFile(path); }
  static unsigned ModeOf(const std::string& path) {
    struct stat info{};
    stat(path.c_str(), &info);
    return info.st_mode & 0777U;
  }
  // Changes `key` of the backup's manifest to `value`.
  void Forge(const std::string& key, const boost::json::value& value) const {
    auto object = *ParseJsonObject(Read(backup() + "/manifest.json"), "");
    object[key] = value;
    Write(backup() + "/manifest.json", boost::json::serialize(object));
  }
  static void SetStoreVersion(const std::string& dir, int64_t version, const std::string& sql) {
    auto database = *Database::Open(dir + "/penstock.db", Database::Mode::kReadWrite);
    ASSERT_TRUE(database.Execute(fmt::format("{}; PRAGMA user_version={}", sql, version)));
  }
  std::string backup() const { return folder_ + "/backup"; }
  std::string other() const { return folder_ + "/other"; }
  Result<Backup> Make(bool weights = false) {
    return MakeBackup(*data_, {.to = backup(), .config_file = "", .weights = weights});
  }

  std::string folder_, secret_;
  Mailbox mail_;
  std::optional<DataDir> data_;
};

TEST_F(BackupTest, TheRestoredDataHasTheSameTeamsKeysAndUsageAndOnlyItsOwnerReadsIt) {
  const auto made = Make();
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(made->counts,
            (StoreCounts{.teams = 1, .keys = 1, .requests = 1, .open = 0, .input = 10, .output = 7}));
  EXPECT_EQ(ModeOf(backup()), 0700U);
  for (const auto& file : made->files) EXPECT_EQ(ModeOf(backup() + "/" + file.name) & 077U, 0U) << file.name;
  EXPECT_EQ(ModeOf(backup() + "/manifest.json"), 0600U);

  const auto restored = RestoreBackup(backup(), other());
  ASSERT_TRUE(restored) << restored.error().message;
  EXPECT_EQ(Read(other() + "/operator.key"), "sk-penstock-op");
  EXPECT_EQ(ModeOf(other() + "/operator.key"), 0600U);
  EXPECT_FALSE(fs::exists(other() + "/models/tiny")) << "a model without weights is not restored";
  const auto accounts = Open(other());
  EXPECT_TRUE(accounts->Authenticate(secret_));
  const auto usage =
      mail_.Await<Result<std::vector<UsageRow>>>([&](auto done) { accounts->UsageOf({}, 0, done); });
  EXPECT_EQ(usage->at(0).output, 7);
  EXPECT_FALSE(fs::exists(folder_ + "/backup.partial"));
}

TEST_F(BackupTest, WeightsAreIncludedOnRequest) {
  ASSERT_TRUE(Make(true));
  ASSERT_TRUE(RestoreBackup(backup(), other()));
  EXPECT_EQ(Read(other() + "/models/tiny/model.gguf"), "weights");
  EXPECT_EQ(ModelStore(*DataDir::Open(other())).List().at(0).name, "tiny");
}

TEST_F(BackupTest, ADamagedBackupNamesTheFileAndTheDefectAndChangesNothing) {
  const auto damage = [&](const std::function<void()>& act, const std::string& file,
                          const std::string& defect) {
    fs::remove_all(backup());
    ASSERT_TRUE(Make());
    act();
    const auto restored = RestoreBackup(backup(), other());
    ASSERT_FALSE(restored) << file;
    EXPECT_EQ(restored.error().code, Code::kCorrupt);
    EXPECT_THAT(restored.error().message, HasSubstr(backup() + "/" + file));
    EXPECT_THAT(restored.error().message, HasSubstr(defect));
    EXPECT_FALSE(fs::exists(other()));
  };
  damage([&] { Write(backup() + "/operator.key", "sk-penstock-xx\n"); }, "operator.key", "have changed");
  damage([&] { fs::resize_file(backup() + "/penstock.db", 4096); }, "penstock.db", "4096 bytes");
  damage([&] { fs::remove(backup() + "/journal"); }, "journal", "missing");
  damage([&] { Write(backup() + "/manifest.json", "{\"format\":1"); }, "manifest.json", "");
  damage([&] { Forge("counts", boost::json::object{{"teams", 5}}); }, "penstock.db", "does not match");
  damage([&] { Forge("files", {{{"name", "../evil"}, {"sha256", "x"}, {"size", 1}}}); }, "manifest.json",
         "outside");
}

TEST_F(BackupTest, RestoringNeverOverwritesAnything) {
  ASSERT_TRUE(Make());
  const auto full = RestoreBackup(backup(), data_->path());
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, Code::kConflict);
  EXPECT_THAT(full.error().message, HasSubstr("mv " + data_->path()));
  const Fd lock = *data_->Lock();
  EXPECT_THAT(RestoreBackup(backup(), data_->path()).error().message, HasSubstr(std::to_string(getpid())));
  EXPECT_EQ(Make().error().code, Code::kConflict) << "nor does a backup overwrite another one";
  fs::create_directory(other());
  EXPECT_TRUE(RestoreBackup(backup(), other())) << "an empty directory is accepted";
  EXPECT_EQ(RestoreBackup(folder_, other() + "2").error().code, Code::kNotFound);
}

TEST_F(BackupTest, ABackupOfALaterVersionIsRefusedWithThatVersion) {
  ASSERT_TRUE(Make());
  Forge("program", "9.9.9");
  Forge("store_version", 99);
  const auto restored = RestoreBackup(backup(), other());
  ASSERT_FALSE(restored);
  EXPECT_EQ(restored.error().code, Code::kUnsupported);
  EXPECT_THAT(restored.error().message, HasSubstr("9.9.9"));
}

// ---- what must be there before a start ----

TEST_F(BackupTest, AStoreThatIsMissingOrEmptyBesideAnOperatorKeyIsNotReplacedByAnEmptyOne) {
  EXPECT_TRUE(RequireStore(*data_));
  ASSERT_TRUE(
      MakeBackup(*data_, {.to = data_->Backups() + "/20300101", .config_file = "", .weights = false}));
  const std::string store = data_->path() + "/penstock.db";
  const auto refused = [&] {
    const Status status = RequireStore(*data_);
    EXPECT_FALSE(status);
    if (status) return;
    EXPECT_EQ(status.error().code, Code::kCorrupt);
    EXPECT_THAT(status.error().message,
                HasSubstr("penstock restore " + data_->Backups() + "/20300101 --data"));
    EXPECT_THAT(status.error().message, HasSubstr("mv " + data_->OperatorKeyFile()));
  };
  fs::rename(store, store + ".away");
  fs::remove(store + "-wal");
  refused();
  Write(store, "");
  refused();
  fs::remove(store);
  Open(data_->path()).reset();  // tables, and no key
  refused();
  fs::remove(data_->OperatorKeyFile());
  EXPECT_TRUE(RequireStore(*data_)) << "a fresh start";
}

TEST_F(BackupTest, WithoutABackupThatIsSaid) {
  fs::remove(data_->path() + "/penstock.db");
  const Status status = RequireStore(*data_);
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("There is no backup in"));
}

TEST_F(BackupTest, FoldersThatKilledRunsLeftAreRemovedAndThoseThatAreBeingFilledAreNot) {
  const std::string folder = data_->Backups();
  fs::create_directories(folder + "/a.partial.4000000");
  Write(folder + "/a.partial.4000000/penstock.db", "half");
  fs::create_directories(folder + "/mine.partial.x");
  fs::create_directories(folder + "/whole");
  Write(folder + "/file.partial.1", "not a folder");
  Scratch running(folder + "/b");
  ASSERT_TRUE(running.Create());
  RemovePartialsIn(folder);
  EXPECT_FALSE(fs::exists(folder + "/a.partial.4000000"));
  for (const std::string& kept :
       {folder + "/mine.partial.x", folder + "/whole", folder + "/file.partial.1", running.path()})
    EXPECT_TRUE(fs::exists(kept)) << kept;
  fs::create_directories(folder + "/c.partial.1");
  fs::create_directories(folder + "/d.partial.1");
  RemovePartials(folder + "/c");
  EXPECT_FALSE(fs::exists(folder + "/c.partial.1"));
  EXPECT_TRUE(fs::exists(folder + "/d.partial.1"));
}

// ---- upgrades ----

TEST_F(BackupTest, TheBackupsOfTheLastThreeUpgradesAreKept) {
  for (int i = 0; i < 5; ++i) {
    SetStoreVersion(data_->path(), 2,
                    "ALTER TABLE teams DROP COLUMN removed; ALTER TABLE teams DROP COLUMN external; ALTER "
                    "TABLE requests DROP COLUMN reported;"
                    "ALTER TABLE requests DROP COLUMN input; DROP INDEX requests_opened;"
                    "ALTER TABLE usage DROP COLUMN reported; DROP TABLE upgrades");
    const auto upgraded = UpgradeData(*data_);
    ASSERT_TRUE(upgraded) << upgraded.error().message;
    EXPECT_EQ(StoreVersionOf(data_->path())->version, kSchemaVersion);
    for (const auto& at : fs::directory_iterator(data_->Backups())) {
      const auto kept = CheckBackup(at.path());
      ASSERT_TRUE(kept) << kept.error().message;
      EXPECT_EQ(kept->store_version, 2);
    }
    // Their names have a resolution of one second, so this test renames them.
    for (const auto& at : fs::directory_iterator(data_->Backups())) {
      if (!at.path().string().ends_with("-x"))
        fs::rename(at.path(), fmt::format("{}-{}-x", at.path().string(), i));
    }
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(data_->Backups()), {}), 3);
  EXPECT_TRUE(UpgradeData(*data_)) << "there is nothing more to do";
}

TEST_F(BackupTest, AStoreOfALaterVersionIsRefusedWithTheWayBack) {
  SetStoreVersion(data_->path(), 2,
                  "ALTER TABLE teams DROP COLUMN removed; ALTER TABLE teams DROP COLUMN external; ALTER "
                  "TABLE requests DROP COLUMN reported;"
                  "ALTER TABLE requests DROP COLUMN input; DROP INDEX requests_opened;"
                  "ALTER TABLE usage DROP COLUMN reported; DROP TABLE upgrades");
  ASSERT_TRUE(UpgradeData(*data_));
  SetStoreVersion(data_->path(), 99, "INSERT INTO upgrades VALUES(99, '9.9.9', 1)");
  const auto refused = UpgradeData(*data_);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnsupported);
  EXPECT_THAT(refused.error().message, HasSubstr("Penstock 9.9.9"));
  const std::string message = refused.error().message, command = "penstock restore ";
  const size_t at = message.find(command);
  ASSERT_NE(at, std::string::npos) << message;
  const std::string path = message.substr(at + command.size(), message.find(" --data") - at - command.size());
  ASSERT_TRUE(RestoreBackup(path, other())) << path;
  EXPECT_EQ(StoreVersionOf(other())->version, 2);
  EXPECT_TRUE(Open(other())->Authenticate(secret_));
}

}  // namespace
}  // namespace penstock
