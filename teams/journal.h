// Journal: the counters of every open request, where a kill of this process cannot lose them.
//
// A preallocated, pre-written file in the page cache, mapped shared. Each open request has one slot;
// its counters are aligned 8-byte words that are stored in place.
//
//   header   4,096 bytes: magic "PNSTJRN1", uint32 version, uint32 bytes of a slot, uint64 slots
//            version 2 had no `input`: a slot of it with nothing billed bills no input, any other its prompt;
//            version 1 had no `reported` either. A backup of a store of those times is written so
//   slot       256 bytes: state, counters, identity, model; see Slot in journal.cc
//
// A slot's state word is stored last and is a checksum of the slot's identity: 0 is free, anything that
// does not match is damage and is not read. So a kill at any instant leaves each slot free or readable.
//
// What is lost: nothing by a kill of the process. By a power loss or a kernel crash, what was counted
// since the last msync, which a background thread calls every second: at most 1 second and the time of
// one msync. Open records are in SQLite by then, so such a request is still known, only its counters
// are short.
//
// Threads: one, except for the background msync.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "teams/id.h"

namespace penstock {

struct Counters {
  int64_t cached = 0, billed = 0, emitted = 0, computed = 0, chip_ns = 0, reported = 0;
  int64_t input = 0;  // of the prompt's tokens, those that are billed: none or all
};

struct JournalEntry {
  RequestId id;
  int64_t team = 0, key = 0;
  int64_t prompt = 0;  // its size, billed or not
  Nanos opened = 0;    // wall
  std::string model;   // its first kJournalModelBytes: longer names are whole in the open record
  Counters counters;
};
constexpr size_t kJournalModelBytes = 136;
constexpr uint32_t kJournalVersion = 3;

struct JournalContents {
  std::vector<JournalEntry> open;
  size_t damaged = 0;  // slots that are neither free nor readable
};
// Reads a journal file's bytes, whatever they are. Errors: kCorrupt (not a journal, or shorter than it
// says), kUnsupported (of a newer version).
Result<JournalContents> ReadJournal(std::span<const std::byte> bytes);
// The same for a file. A file that does not exist is an empty journal.
Result<JournalContents> ReadJournalFile(const std::string& path);

class Journal {
 public:
  // Makes a fresh journal of `slots` free slots at `path`, replacing what is there.
  static Result<std::unique_ptr<Journal>> Create(const std::string& path, size_t slots,
                                                 uint32_t version = kJournalVersion);
  virtual ~Journal() = default;

  // A slot that holds `entry`; nothing if all are taken.
  virtual std::optional<uint32_t> Take(const JournalEntry& entry) = 0;
  virtual void Free(uint32_t slot) = 0;
  // Replaces the counters of a taken slot, each word at once.
  virtual void Store(uint32_t slot, const Counters& counters) = 0;
  virtual size_t taken() const = 0;
};

}  // namespace penstock
