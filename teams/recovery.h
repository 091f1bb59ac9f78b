// Recovery: ends what a process left open when it was killed.
#pragma once

#include "base/clock.h"
#include "teams/journal.h"
#include "teams/sqlite.h"

namespace penstock {

struct Recovered {
  size_t from_journal = 0;  // ended with their counters
  size_t without_slot = 0;  // open in the store, unknown to the journal: ended with nothing billed
};

// Ends every open request in one transaction, outcome "gateway_restarted". After it the journal holds
// nothing that the store lacks and may be replaced.
Result<Recovered> EndLeftovers(Database& database, const JournalContents& journal, Nanos now);

}  // namespace penstock
