// Snapshot: the store as of one moment, copied while another process may write it.
//
// The copy is of one read transaction, so the writer never waits for it and everything in it fits together.
// Requests that were open at that moment stay open in it, and its journal holds a slot for each, with the
// counters of a moment later: a gateway that starts on the copy ends them as after a kill (teams/recovery.h).
//
// Threads and processes: any; nothing here writes the source or takes its lock.
#pragma once

#include <string>
#include <vector>

#include "teams/schema.h"
#include "teams/teams.h"

namespace penstock {

struct StoreCounts {
  int64_t teams = 0, keys = 0;
  int64_t requests = 0, open = 0;  // `open`: of `requests`, not ended
  int64_t input = 0, output = 0;   // tokens of ended requests
  bool operator==(const StoreCounts&) const = default;
};

// Writes TO/penstock.db and TO/journal, readable by their owner only. REQUIRES: neither is there.
// Errors: kNotFound (no store in FROM), kCorrupt, kIo.
Status CopyStore(const std::string& from, const std::string& to);

// Reads the whole store of a directory that is not in use. Errors: kCorrupt names the file and the defect.
Result<StoreCounts> CheckStore(const std::string& dir);

// The version of a directory's store, in use or not; 0: there is none.
Result<StoreVersion> StoreVersionOf(const std::string& dir);

// Whether a directory's store is missing, has no tables, or has no key, as no store that was in use can be.
Result<bool> StoreIsEmpty(const std::string& dir);

// The teams of a directory's store, in use or not, of which several have names that differ only by case. New
// ones cannot be made so; older ones are kept, and named by their ids.
Result<std::vector<std::vector<Team>>> TeamsAlike(const std::string& dir);

// Brings the store of `dir` to kSchemaVersion. Errors: kConflict (a cloud has it).
Status UpgradeStore(const std::string& dir);

}  // namespace penstock
