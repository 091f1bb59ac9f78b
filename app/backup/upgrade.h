// What happens to a data directory before a cloud starts on it: its store is there, and is brought up to
// date.
#pragma once

#include "app/common/data_dir.h"
#include "base/result.h"

namespace penstock {

// A data directory with an operator key and without a store has lost its teams, keys and usage. Errors:
// kCorrupt: names the latest backup, and how to start without one.
Status RequireStore(const DataDir& data);

// Upgrades the data directory's store to this program's version, after a backup to DATA/backups, of which the
// last three are kept. Errors: kUnsupported: the store has a later version; names the program that made it
// and how to go back. REQUIRES: no cloud runs on it.
Status UpgradeData(const DataDir& data);

}  // namespace penstock
