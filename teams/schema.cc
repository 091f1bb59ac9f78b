#include "teams/schema.h"

namespace penstock {
namespace {

constexpr int64_t kApplicationId = 0x504e5354;  // "PNST"

// kSteps[v] brings version v to v + 1. A step that was released is never changed.
constexpr const char* kSteps[kSchemaVersion] = {
    R"sql(
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
)sql",
    R"sql(
  ALTER TABLE keys ADD COLUMN parent INTEGER NOT NULL DEFAULT 0;  -- the key that it renews or logs in for
  ALTER TABLE keys ADD COLUMN login INTEGER NOT NULL DEFAULT 0;   -- 1: a login
)sql",
};

Status Upgrade(Database& database, int64_t from) {
  std::string sql = "BEGIN IMMEDIATE;";
  for (int64_t version = from; version < kSchemaVersion; ++version) sql += kSteps[version];
  sql += fmt::format("PRAGMA user_version={}; PRAGMA application_id={}; COMMIT;", kSchemaVersion,
                     kApplicationId);
  return database.Execute(sql);
}

}  // namespace

Status PrepareSchema(Database& database) {
  PENSTOCK_ASSIGN(const int64_t version, database.QueryInt("PRAGMA user_version"));
  PENSTOCK_ASSIGN(const int64_t application, database.QueryInt("PRAGMA application_id"));
  PENSTOCK_ASSIGN(const int64_t tables, database.QueryInt("SELECT count(*) FROM sqlite_schema"));
  if (tables > 0 && application != kApplicationId) {
    return Fail(Code::kCorrupt, "{} is no store of Penstock; name another data directory",
                sqlite3_db_filename(database.handle(), "main"));
  }
  if (version > kSchemaVersion) {
    return Fail(
        Code::kUnsupported,
        "{} was written by a newer Penstock (its store has version {}, this one knows {}); start that one",
        sqlite3_db_filename(database.handle(), "main"), version, kSchemaVersion);
  }
  return version == kSchemaVersion ? Status{} : Upgrade(database, version);
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
