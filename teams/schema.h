// The store's tables, and how an older store becomes a newer one.
#pragma once

#include "teams/sqlite.h"

namespace penstock {

extern const int64_t kSchemaVersion;  // that this program writes

struct StoreVersion {
  int64_t version = 0;  // 0: empty
  std::string program;  // that brought it there, for people: "Penstock 0.1.0"
};
// Errors: kCorrupt (not a store of ours).
Result<StoreVersion> ReadStoreVersion(Database& database);

// Creates the tables in an empty file, brings an older store up to date in one transaction, leaves a newer
// one alone.
// Errors: kUnsupported (newer), kCorrupt (not a store of ours).
Status PrepareSchema(Database& database);

// How both kinds of connection are set up.
Status ConfigureWriter(Database& database);
Status ConfigureReader(Database& database);

}  // namespace penstock
