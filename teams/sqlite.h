// A thin layer over SQLite: connections and prepared statements that free themselves and report Errors.
//
// Threads: a connection and its statements are used by one thread at a time.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace penstock {

class Database;

class Statement {
 public:
  Statement() = default;
  // Values for ?1, ?2, …; text and blobs must stay alive until Run or the last Step.
  template <class... Values>
  Statement& Bind(const Values&... values) {
    int index = 0;
    (BindOne(++index, values), ...);
    return *this;
  }
  // To the end, ignoring rows; ready for the next Bind afterwards.
  Status Run();
  // The next row: true; no more: false, and ready for the next Bind.
  Result<bool> Step();
  void Reset() { sqlite3_reset(statement_.get()); }

  int64_t Int(int column) const { return sqlite3_column_int64(statement_.get(), column); }
  std::string_view Text(int column) const;  // blobs too; valid until the next call

 private:
  friend class Database;
  void BindOne(int index, int64_t value) { sqlite3_bind_int64(statement_.get(), index, value); }
  void BindOne(int index, std::string_view text);
  void BindOne(int index, std::span<const uint8_t> blob);

  struct Finalize {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
};

class Database {
 public:
  enum class Mode : uint8_t { kReadWrite, kReadOnly };
  // Errors: kCorrupt, kIo, each with the file and how to fix it.
  static Result<Database> Open(const std::string& path, Mode mode);

  Status Execute(const std::string& sql);
  Result<Statement> Prepare(std::string_view sql) const;
  // The first column of the first row. Errors: as the statement; kNotFound: no row.
  Result<int64_t> QueryInt(std::string_view sql) const;

  int64_t LastInsertId() const { return sqlite3_last_insert_rowid(handle_.get()); }
  int Changes() const { return sqlite3_changes(handle_.get()); }
  sqlite3* handle() const { return handle_.get(); }

 private:
  struct CloseHandle {
    void operator()(sqlite3* handle) const { sqlite3_close_v2(handle); }
  };
  std::unique_ptr<sqlite3, CloseHandle> handle_;
};

// What SQLite last said on this connection, as an Error that names the file and how to fix it.
Error SqliteError(sqlite3* handle);

}  // namespace penstock
