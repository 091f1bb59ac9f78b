// A journal read back after any damage: an Error or entries within bounds, never a fault.
#include <cstdlib>

#include "teams/journal.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto contents = penstock::ReadJournal(std::as_bytes(std::span(data, size)));
  if (!contents) return 0;
  for (const auto& entry : contents->open) {
    if (entry.counters.billed < 0 || entry.model.size() > penstock::kJournalModelBytes) std::abort();
    (void)penstock::FormatId(entry.id);
  }
  return 0;
}
