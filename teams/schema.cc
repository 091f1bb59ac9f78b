#include "teams/schema.h"

#include <iterator>

namespace penstock {
namespace {

constexpr int64_t kApplicationId = 0x504e5354;  // "PNST"

Status CreateTables(Database& database) {
  return database.Execute(R"sql(
  CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
  INSERT INTO meta VALUES('created', unixepoch());

  CREATE TABLE teams(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL            -- wall nanoseconds, as every time here
  );
  CREATE TABLE keys(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    team INTEGER NOT NULL,              -- 0: no team
    name TEXT NOT NULL,
    shown TEXT NOT NULL,                -- the secret's first characters
    digest BLOB NOT NULL UNIQUE,        -- SHA-256 of the secret
    role TEXT NOT NULL,
    models TEXT NOT NULL,               -- one a line; empty: all
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,           -- 0: never
    revoked INTEGER NOT NULL            -- 0: not
  );
  -- One row a request. sequence: see teams/id.h; rows are appended in its order.
  CREATE TABLE requests(
    sequence INTEGER PRIMARY KEY,
    nonce INTEGER NOT NULL,
    team INTEGER NOT NULL,
    key INTEGER NOT NULL,
    model TEXT NOT NULL,
    opened INTEGER NOT NULL,
    ended INTEGER NOT NULL DEFAULT 0,   -- 0: open
    outcome TEXT NOT NULL DEFAULT '',
    detail TEXT NOT NULL DEFAULT '',
    prompt INTEGER NOT NULL DEFAULT 0,
    cached INTEGER NOT NULL DEFAULT 0,
    billed INTEGER NOT NULL DEFAULT 0,
    emitted INTEGER NOT NULL DEFAULT 0,
    computed INTEGER NOT NULL DEFAULT 0,
    chip_ns INTEGER NOT NULL DEFAULT 0,
    trail TEXT NOT NULL DEFAULT ''      -- see teams/request.h
  );
  CREATE INDEX requests_open ON requests(sequence) WHERE ended = 0;

  -- Sums of ended requests by the hour (since the epoch) in which they were opened.
  CREATE TABLE usage(
    hour INTEGER NOT NULL,
    team INTEGER NOT NULL,
    key INTEGER NOT NULL,
    model TEXT NOT NULL,
    requests INTEGER NOT NULL,
    input INTEGER NOT NULL,
    cached INTEGER NOT NULL,
    output INTEGER NOT NULL,
    chip_ns INTEGER NOT NULL,
    PRIMARY KEY(hour, team, key, model)
  ) WITHOUT ROWID;
)sql");
}

// Secrets beside a key's first: what renews it, and what logs in for it.
Status AddLogins(Database& database) {
  return database.Execute(R"sql(
  ALTER TABLE keys ADD COLUMN parent INTEGER NOT NULL DEFAULT 0;  -- the key that it renews or logs in for
  ALTER TABLE keys ADD COLUMN login INTEGER NOT NULL DEFAULT 0;   -- 1: a login
)sql");
}

// Which program upgraded the store to which version, and when: older programs name it when they refuse a
// newer store.
Status AddUpgrades(Database& database) {
  return database.Execute(R"sql(
  CREATE TABLE upgrades(
    version INTEGER PRIMARY KEY,        -- that the store had from then on
    program TEXT NOT NULL,              -- the version of Penstock that did it
    at INTEGER NOT NULL                 -- wall nanoseconds
  );
)sql");
}

// Whether a team's text may go to engines outside the organisation: no by default.
Status AddExternal(Database& database) {
  return database.Execute("ALTER TABLE teams ADD COLUMN external INTEGER NOT NULL DEFAULT 0");
}

// Of the output, what was counted as an upstream counts.
Status AddReported(Database& database) {
  PENSTOCK_TRY(database.Execute("ALTER TABLE requests ADD COLUMN reported INTEGER NOT NULL DEFAULT 0"));
  return database.Execute("ALTER TABLE usage ADD COLUMN reported INTEGER NOT NULL DEFAULT 0");
}

// What of a prompt is billed, apart from its size. Until now every request that had ended was billed it.
Status AddInput(Database& database) {
  PENSTOCK_TRY(database.Execute("ALTER TABLE requests ADD COLUMN input INTEGER NOT NULL DEFAULT 0"));
  return database.Execute("UPDATE requests SET input=prompt WHERE ended<>0");
}

// Requests by when they were opened: the clock may be set back, the order of their ids is not.
Status AddOpenedIndex(Database& database) {
  return database.Execute("CREATE INDEX requests_opened ON requests(opened)");
}

// A removed team keeps its row: its usage records still name it.
Status AddRemoved(Database& database) {
  return database.Execute("ALTER TABLE teams ADD COLUMN removed INTEGER NOT NULL DEFAULT 0");  // 0: not
}

// kSteps[v] brings version v to v + 1. A step that was released is never changed; a new one goes to the end.
using Step = Status (*)(Database&);
constexpr Step kSteps[] = {
    CreateTables, AddLogins, AddUpgrades, AddExternal, AddReported, AddInput, AddOpenedIndex, AddRemoved,
};

Status RunSteps(Database& database, int64_t from) {
  for (auto version = static_cast<size_t>(from); version < std::size(kSteps); ++version) {
    PENSTOCK_TRY(kSteps[version](database));
  }
  PENSTOCK_TRY(database.Execute(fmt::format(
      "INSERT OR REPLACE INTO upgrades VALUES({0}, '{1}', unixepoch() * 1000000000); PRAGMA user_version={0};"
      "PRAGMA application_id={2};",
      kSchemaVersion, PENSTOCK_VERSION, kApplicationId)));
  return {};
}

// All of it or none.
Status Upgrade(Database& database, int64_t from) {
  PENSTOCK_TRY(database.Execute("BEGIN IMMEDIATE"));
  const Status done = RunSteps(database, from);
  const Status ended = database.Execute(done ? "COMMIT" : "ROLLBACK");
  return done ? ended : done;
}

// The program that brought the store to its version, for people; stores before version 3 do not say.
std::string MadeBy(Database& database) {
  auto statement = database.Prepare("SELECT program FROM upgrades ORDER BY version DESC LIMIT 1");
  const auto row = statement ? statement->Step() : std::unexpected(statement.error());
  return row && *row ? fmt::format("Penstock {}", statement->Text(0)) : "another Penstock";
}

}  // namespace

const int64_t kSchemaVersion = std::size(kSteps);

Result<StoreVersion> ReadStoreVersion(Database& database) {
  PENSTOCK_ASSIGN(const int64_t version, database.QueryInt("PRAGMA user_version"));
  PENSTOCK_ASSIGN(const int64_t application, database.QueryInt("PRAGMA application_id"));
  PENSTOCK_ASSIGN(const int64_t tables, database.QueryInt("SELECT count(*) FROM sqlite_schema"));
  if (tables == 0) return StoreVersion{};
  if (application != kApplicationId) {
    return Fail(Reason::kNotAStore, "{} is no store of Penstock; name another data directory",
                sqlite3_db_filename(database.handle(), "main"));
  }
  return StoreVersion{.version = version, .program = MadeBy(database)};
}

Status PrepareSchema(Database& database) {
  PENSTOCK_ASSIGN(const StoreVersion store, ReadStoreVersion(database));
  if (store.version > kSchemaVersion) {
    return Fail(Reason::kStoreNewer,
                "{} was written by {} (its store has version {}, this Penstock {} knows {}); start that one",
                sqlite3_db_filename(database.handle(), "main"), store.program, store.version,
                PENSTOCK_VERSION, kSchemaVersion);
  }
  return store.version == kSchemaVersion ? Status{} : Upgrade(database, store.version);
}

// synchronous=FULL: a commit is on the disk when it returns. Checkpoints are run by the store's thread
// when it is idle, as one amid the work delays every commit behind it.
Status ConfigureWriter(Database& database) {
  int keep_log = 1;  // overwriting an old log is faster than appending to a new one
  sqlite3_file_control(database.handle(), "main", SQLITE_FCNTL_PERSIST_WAL, &keep_log);
  return database.Execute(
      "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0;"
      "PRAGMA cache_size=-65536; PRAGMA temp_store=MEMORY;");
}

Status ConfigureReader(Database& database) {
  return database.Execute("PRAGMA query_only=1; PRAGMA cache_size=-16384; PRAGMA temp_store=MEMORY;");
}

}  // namespace penstock
