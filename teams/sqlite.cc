#include "teams/sqlite.h"

namespace penstock {
namespace {

Code CodeOf(int sqlite) {
  switch (sqlite & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return Code::kCorrupt;
    case SQLITE_CONSTRAINT:
      return Code::kConflict;
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
      return Code::kIo;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return Code::kUnavailable;
    default:
      return Code::kInternal;
  }
}

std::string_view WayOut(Code code) {
  switch (code) {
    case Code::kCorrupt:
      return "; the file is damaged: stop Penstock and restore a copy, or rebuild it with sqlite3's .recover";
    case Code::kIo:
      return "; see that the disk has room and the file can be written";
    case Code::kUnavailable:
      return "; another process holds the file: end it";
    default:
      return "";
  }
}

Reason ReasonOf(Code code) {
  return code == Code::kCorrupt ? Reason::kStoreDamaged : Reason::kNone;
}

}  // namespace

Error SqliteError(sqlite3* handle) {
  const Code code = CodeOf(sqlite3_extended_errcode(handle));
  const char* const file = sqlite3_db_filename(handle, "main");
  return {code,
          fmt::format("{}: {}{}", file == nullptr ? "the store" : file, sqlite3_errmsg(handle), WayOut(code)),
          ReasonOf(code)};
}

void Statement::BindOne(int index, std::string_view text) {
  sqlite3_bind_text64(statement_.get(), index, text.data() == nullptr ? "" : text.data(), text.size(),
                      SQLITE_STATIC, SQLITE_UTF8);
}

void Statement::BindOne(int index, std::span<const uint8_t> blob) {
  sqlite3_bind_blob64(statement_.get(), index, blob.data(), blob.size(), SQLITE_STATIC);
}

Result<bool> Statement::Step() {
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  Result<bool> result = false;
  if (code != SQLITE_DONE) result = std::unexpected(SqliteError(sqlite3_db_handle(statement_.get())));
  Reset();
  return result;
}

Status Statement::Run() {
  Result<bool> row = true;
  while (row && *row) row = Step();
  if (!row) return std::unexpected(row.error());
  return {};
}

std::string_view Statement::Text(int column) const {
  const void* const data = sqlite3_column_blob(statement_.get(), column);
  if (data == nullptr) return {};
  return {static_cast<const char*>(data),
          static_cast<size_t>(sqlite3_column_bytes(statement_.get(), column))};
}

Result<Database> Database::Open(const std::string& path, Mode mode) {
  const int flags =
      mode == Mode::kReadOnly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  sqlite3* handle = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &handle, flags | SQLITE_OPEN_NOMUTEX, nullptr);
  Database database;
  database.handle_.reset(handle);
  if (code != SQLITE_OK) {
    return Fail(CodeOf(code), "cannot open {}: {}{}", path, sqlite3_errstr(code), WayOut(CodeOf(code)));
  }
  sqlite3_busy_timeout(handle, 1000);
  return database;
}

Status Database::Execute(const std::string& sql) {
  if (sqlite3_exec(handle(), sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK) return {};
  return std::unexpected(SqliteError(handle()));
}

Result<Statement> Database::Prepare(std::string_view sql) const {
  Statement statement;
  sqlite3_stmt* raw = nullptr;
  const int code = sqlite3_prepare_v3(handle(), sql.data(), static_cast<int>(sql.size()),
                                      SQLITE_PREPARE_PERSISTENT, &raw, nullptr);
  if (code != SQLITE_OK) return std::unexpected(SqliteError(handle()));
  statement.statement_.reset(raw);
  return statement;
}

Result<int64_t> Database::QueryInt(std::string_view sql) const {
  PENSTOCK_ASSIGN(Statement statement, Prepare(sql));
  PENSTOCK_ASSIGN(const bool row, statement.Step());
  if (!row) return Fail(Code::kNotFound, "no row");
  return statement.Int(0);
}

}  // namespace penstock
