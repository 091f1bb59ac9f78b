// Reports: reads what the store has, on a connection of its own that never delays the writer. Teams and keys
// are numbers here: their names belong to the owner's thread (NameRows, NameRecord).
//
// Threads: one at a time. Every answer is of one snapshot.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "base/clock.h"
#include "teams/directory.h"
#include "teams/request.h"
#include "teams/sqlite.h"

namespace penstock {

// A row of usage before it has names.
struct UsageSums {
  TeamId team = 0;
  KeyId key = 0;  // 0 unless asked for by key
  UsageRow row;
};

class Reports {
 public:
  static Result<Reports> Open(const std::string& path);

  // Errors: kNotFound.
  Result<RequestRecord> Find(const RequestId& id);
  // Of ended requests, by the time at which they were opened. `ending` are requests whose end may not
  // be in the store yet; each is counted once.
  // Errors: kInvalid: more than kMostBuckets of query.bucket.
  Result<std::vector<UsageSums>> Usage(const UsageQuery& query, std::span<const RequestEntryPtr> ending);
  static constexpr int64_t kMostBuckets = 1000;

 private:
  class Tally;
  Result<std::vector<UsageSums>> ReadUsage(const UsageQuery& query, std::span<const RequestEntryPtr> ending);
  Status AddStored(Nanos since, Nanos until, Tally& tally);
  Result<Nanos> FirstUse(std::span<const RequestEntryPtr> ending);

  Database database_;
  Statement find_, ended_, hours_, rows_, first_;
};

// With the names that teams and keys have now; sorted by time, team, model and key.
std::vector<UsageRow> NameRows(std::vector<UsageSums> sums, const Directory& directory);
void NameRecord(RequestRecord& record, const Directory& directory);

}  // namespace penstock
