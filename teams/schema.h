// The store's tables, and how an older store becomes a newer one.
#pragma once

#include "teams/sqlite.h"

namespace penstock {

constexpr int64_t kSchemaVersion = 2;

// Creates the tables in an empty file, brings an older store up to date, leaves a newer one alone.
// Errors: kUnsupported (newer), kCorrupt (not a store of ours).
Status PrepareSchema(Database& database);

// How both kinds of connection are set up.
Status ConfigureWriter(Database& database);
Status ConfigureReader(Database& database);

}  // namespace penstock
