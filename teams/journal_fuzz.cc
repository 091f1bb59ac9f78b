// A journal read back after any damage: an Error or entries within bounds, never a fault.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/check.h"
#include "teams/journal.h"

namespace {

using namespace penstock;

constexpr size_t kSlots = 8;

std::vector<char> GoodJournal() {
  const auto path = std::filesystem::temp_directory_path() / ("penstock-fuzz-" + std::to_string(::getpid()));
  auto journal = Journal::Create(path.string(), kSlots);
  PENSTOCK_CHECK(journal);
  for (int64_t i = 1; i < 6; ++i) {
    JournalEntry entry;
    entry.id = {i, 7};
    entry.model = "model";
    (*journal)->Take(entry);
  }
  std::ifstream file(path, std::ios::binary);
  std::vector<char> bytes(std::istreambuf_iterator<char>(file), {});
  std::filesystem::remove(path);
  return bytes;
}

}  // namespace

// The input is damage to a good journal: rows of offset (two bytes) and value. The first byte cuts it.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<char> good = GoodJournal();
  if (size == 0) return 0;
  std::vector<char> bytes = good;
  if (data[0] % 8 == 0) bytes.resize(bytes.size() * data[0] / 256);
  for (size_t at = 1; at + 2 < size && !bytes.empty(); at += 3) {
    bytes[(data[at] << 8 | data[at + 1]) % bytes.size()] = static_cast<char>(data[at + 2]);
  }
  const auto contents = ReadJournal(std::as_bytes(std::span(bytes)));
  if (!contents) return 0;
  PENSTOCK_CHECK(contents->open.size() + contents->damaged <= kSlots);
  for (const auto& entry : contents->open) {
    const Counters& c = entry.counters;
    PENSTOCK_CHECK(c.billed >= 0 && c.emitted >= 0 && c.cached >= 0 && c.computed >= 0 && c.chip_ns >= 0 &&
                   c.reported >= 0);
    PENSTOCK_CHECK(entry.model.size() <= kJournalModelBytes);
    (void)FormatId(entry.id);
  }
  return 0;
}
