// Reports: reads what the store has, on a connection of its own that never delays the writer.
//
// Threads: one. Every answer is of one snapshot.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "base/clock.h"
#include "teams/directory.h"
#include "teams/request.h"
#include "teams/sqlite.h"

namespace penstock {

class Reports {
 public:
  static Result<Reports> Open(const std::string& path);

  // Errors: kNotFound.
  Result<RequestRecord> Find(const RequestId& id, const Directory& directory);
  // Of ended requests, by the time at which they were opened. `ending` are requests whose end may not
  // be in the store yet; each is counted once.
  // Errors: kInvalid: more than kMostBuckets of query.bucket.
  Result<std::vector<UsageRow>> Usage(const UsageQuery& query, std::span<const RequestEntryPtr> ending,
                                      const Directory& directory);
  static constexpr int64_t kMostBuckets = 1000;

 private:
  class Tally;
  Result<std::vector<UsageRow>> ReadUsage(const UsageQuery& query, std::span<const RequestEntryPtr> ending,
                                          const Directory& directory);
  Status AddStored(Nanos since, Nanos until, Tally& tally);
  Result<Nanos> FirstUse(std::span<const RequestEntryPtr> ending);

  Database database_;
  Statement find_, ended_, hours_, rows_, first_;
};

}  // namespace penstock
