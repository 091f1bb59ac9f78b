#include "teams/snapshot.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <boost/unordered/unordered_flat_set.hpp>
#include <chrono>
#include <map>
#include <thread>

#include "base/check.h"
#include "teams/journal.h"
#include "teams/lock.h"
#include "teams/names.h"

namespace penstock {
namespace {

// The store's versions from which on there is a column `reported`, and one `input`.
constexpr int64_t kReportedSince = 5, kInputSince = 6;
constexpr int kJournalReads = 20;  // a slot that changes hands while it is read looks damaged

std::string StoreFile(const std::string& dir) {
  return dir + "/penstock.db";
}
std::string JournalFile(const std::string& dir) {
  return dir + "/journal";
}

// Every page as of the read transaction that `from` is in.
Status CopyPages(Database& from, Database& to) {
  sqlite3_backup* const copy = sqlite3_backup_init(to.handle(), "main", from.handle(), "main");
  if (copy == nullptr) return std::unexpected(SqliteError(to.handle()));
  sqlite3_backup_step(copy, -1);
  return sqlite3_backup_finish(copy) == SQLITE_OK ? Status{} : std::unexpected(SqliteError(to.handle()));
}

Result<boost::unordered_flat_set<int64_t>> OpenSequences(const Database& database) {
  PENSTOCK_ASSIGN(Statement rows, database.Prepare("SELECT sequence FROM requests WHERE ended=0"));
  boost::unordered_flat_set<int64_t> open;
  while (true) {
    PENSTOCK_ASSIGN(const bool row, rows.Step());
    if (!row) return open;
    open.insert(rows.Int(0));
  }
}

Result<JournalContents> ReadLiveJournal(const std::string& path) {
  Result<JournalContents> contents;
  for (int i = 0; i < kJournalReads; ++i) {
    if (i > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    contents = ReadJournalFile(path);
    if (contents && contents->damaged == 0) return contents;
  }
  return contents;
}

// A request that ended between the copy and the reading of the journal: its row says what its slot did.
Result<std::optional<JournalEntry>> FromEndedRow(Statement& row, int64_t sequence) {
  PENSTOCK_ASSIGN(const bool found, row.Bind(sequence).Step());
  if (!found) return std::nullopt;
  JournalEntry entry;
  entry.id = {sequence, static_cast<uint64_t>(row.Int(0))};
  entry.team = row.Int(1);
  entry.key = row.Int(2);
  entry.model = row.Text(3);
  entry.opened = row.Int(4);
  entry.prompt = row.Int(5);
  entry.counters = {row.Int(6), row.Int(7), row.Int(8), row.Int(9), row.Int(10), row.Int(11), row.Int(12)};
  row.Reset();
  return entry;
}

// The slots that belong to `copy`. A request that came after it is taken along: it is open in the journal
// only, as after a kill before its record was written.
Result<std::vector<JournalEntry>> SlotsFor(const Database& copy, const Database& live,
                                           const std::string& journal, int64_t version) {
  PENSTOCK_ASSIGN(auto open, OpenSequences(copy));
  PENSTOCK_ASSIGN(JournalContents now, ReadLiveJournal(journal));
  PENSTOCK_ASSIGN(Statement ended, copy.Prepare("SELECT 1 FROM requests WHERE sequence=?1 AND ended<>0"));
  std::vector<JournalEntry> slots;
  for (JournalEntry& entry : now.open) {
    open.erase(entry.id.sequence);
    PENSTOCK_ASSIGN(const bool over, ended.Bind(entry.id.sequence).Step());
    ended.Reset();
    if (!over) slots.push_back(std::move(entry));
  }
  PENSTOCK_ASSIGN(Statement row,
                  live.Prepare(fmt::format("SELECT nonce, team, key, model, opened, prompt, cached, billed,"
                                           " emitted, computed, chip_ns, {}, {} FROM requests"
                                           " WHERE sequence=?1 AND ended<>0",
                                           version < kReportedSince ? "0" : "reported",
                                           version < kInputSince ? "prompt" : "input")));
  for (const int64_t sequence : open) {
    PENSTOCK_ASSIGN(auto entry, FromEndedRow(row, sequence));
    if (entry) slots.push_back(*std::move(entry));
  }
  return slots;
}

// As the program that wrote the store reads it: it may be the one that the backup is for.
Status WriteJournal(const std::string& path, const std::vector<JournalEntry>& slots, int64_t version) {
  PENSTOCK_ASSIGN(const auto journal, Journal::Create(path, std::max<size_t>(slots.size(), 1),
                                                      version < kReportedSince ? 1
                                                      : version < kInputSince  ? 2
                                                                               : kJournalVersion));
  for (const JournalEntry& entry : slots) PENSTOCK_CHECK(journal->Take(entry).has_value());
  return {};
}

Status TouchPrivate(const std::string& path) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return FailErrno(Code::kIo, "cannot create " + path);
  ::close(fd);
  return {};
}

// A connection that reads what another process may be writing.
Result<Database> OpenLive(const std::string& dir) {
  const std::string path = StoreFile(dir);
  if (::access(path.c_str(), F_OK) != 0) {
    return Fail(Reason::kNothingToBackUp, "{} holds no store of Penstock: there is no {}", dir, path);
  }
  return Database::Open(path, Database::Mode::kReadOnly);
}

Result<std::string> IntegrityOf(const Database& database) {
  PENSTOCK_ASSIGN(Statement check, database.Prepare("PRAGMA integrity_check(1)"));
  PENSTOCK_ASSIGN(const bool row, check.Step());
  return row ? std::string(check.Text(0)) : std::string("it says nothing");
}

}  // namespace

Status CopyStore(const std::string& from, const std::string& to) {
  PENSTOCK_ASSIGN(Database live, OpenLive(from));
  PENSTOCK_ASSIGN(const StoreVersion store, ReadStoreVersion(live));
  PENSTOCK_TRY(TouchPrivate(StoreFile(to)));
  PENSTOCK_ASSIGN(Database copy, Database::Open(StoreFile(to), Database::Mode::kReadWrite));
  // The directory is of no use until it is whole and synced, so nothing is synced page by page.
  PENSTOCK_TRY(copy.Execute("PRAGMA synchronous=OFF; PRAGMA locking_mode=EXCLUSIVE"));
  PENSTOCK_TRY(live.Execute("BEGIN"));
  PENSTOCK_TRY(live.QueryInt("SELECT count(*) FROM meta"));  // the transaction's moment is its first read
  PENSTOCK_TRY(CopyPages(live, copy));
  PENSTOCK_TRY(live.Execute("COMMIT"));
  PENSTOCK_TRY(copy.Execute("PRAGMA journal_mode=DELETE"));  // one file, without a log beside it
  PENSTOCK_ASSIGN(const auto slots, SlotsFor(copy, live, JournalFile(from), store.version));
  return WriteJournal(JournalFile(to), slots, store.version);
}

Result<StoreCounts> CheckStore(const std::string& dir) {
  PENSTOCK_ASSIGN(const Database database, OpenLive(dir));
  PENSTOCK_ASSIGN(const std::string integrity, IntegrityOf(database));
  if (integrity != "ok") return Fail(Reason::kStoreDamaged, "{} is damaged: {}", StoreFile(dir), integrity);
  PENSTOCK_ASSIGN(const JournalContents journal, ReadJournalFile(JournalFile(dir)));
  if (journal.damaged > 0) {
    return Fail(Reason::kStoreDamaged, "{} is damaged: {} of its slots cannot be read", JournalFile(dir),
                journal.damaged);
  }
  StoreCounts counts;
  PENSTOCK_ASSIGN(counts.teams, database.QueryInt("SELECT count(*) FROM teams"));
  PENSTOCK_ASSIGN(counts.keys, database.QueryInt("SELECT count(*) FROM keys"));
  PENSTOCK_ASSIGN(counts.requests, database.QueryInt("SELECT count(*) FROM requests"));
  PENSTOCK_ASSIGN(counts.open, database.QueryInt("SELECT count(*) FROM requests WHERE ended=0"));
  PENSTOCK_ASSIGN(counts.input, database.QueryInt("SELECT coalesce(sum(input), 0) FROM usage"));
  PENSTOCK_ASSIGN(counts.output, database.QueryInt("SELECT coalesce(sum(output), 0) FROM usage"));
  return counts;
}

Result<StoreVersion> StoreVersionOf(const std::string& dir) {
  if (::access(StoreFile(dir).c_str(), F_OK) != 0) return StoreVersion{};
  PENSTOCK_ASSIGN(Database database, OpenLive(dir));
  return ReadStoreVersion(database);
}

Result<bool> StoreIsEmpty(const std::string& dir) {
  PENSTOCK_ASSIGN(const StoreVersion store, StoreVersionOf(dir));
  if (store.version == 0) return true;
  PENSTOCK_ASSIGN(const Database database, OpenLive(dir));
  PENSTOCK_ASSIGN(const int64_t keys, database.QueryInt("SELECT count(*) FROM keys"));
  return keys == 0;
}

Result<std::vector<std::vector<Team>>> TeamsAlike(const std::string& dir) {
  PENSTOCK_ASSIGN(const Database database, OpenLive(dir));
  PENSTOCK_ASSIGN(Statement rows, database.Prepare("SELECT id, name FROM teams ORDER BY id"));
  std::map<std::string, std::vector<Team>> by_name;
  while (true) {
    PENSTOCK_ASSIGN(const bool row, rows.Step());
    if (!row) break;
    const std::string name(rows.Text(1));
    by_name[FoldedName(name)].push_back({.id = rows.Int(0), .name = name});
  }
  std::vector<std::vector<Team>> alike;
  for (auto& [_, teams] : by_name) {
    if (teams.size() > 1) alike.push_back(std::move(teams));
  }
  return alike;
}

Status UpgradeStore(const std::string& dir) {
  PENSTOCK_ASSIGN(const DirectoryLock lock, DirectoryLock::Take(dir));
  PENSTOCK_ASSIGN(Database database, Database::Open(StoreFile(dir), Database::Mode::kReadWrite));
  PENSTOCK_TRY(ConfigureWriter(database));
  return PrepareSchema(database);
}

}  // namespace penstock
