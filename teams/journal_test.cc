#include "teams/journal.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/random.h"
#include "teams/testing.h"

namespace penstock {
namespace {

using testing::TempDir;

JournalEntry Entry(int64_t sequence) {
  JournalEntry entry;
  entry.id = {sequence, 77};
  entry.team = 3;
  entry.key = 4;
  entry.prompt = 75;
  entry.opened = 1000 + sequence;
  entry.model = "qwen";
  return entry;
}

std::string Bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

Result<JournalContents> Read(const std::string& bytes) {
  return ReadJournal(std::as_bytes(std::span(bytes)));
}

TEST(Journal, WhatWasStoredIsReadBackWithoutAnySync) {
  TempDir dir;
  const std::string path = dir.path + "/journal";
  auto journal = *Journal::Create(path, 8);
  const auto one = journal->Take(Entry(1)), two = journal->Take(Entry(2));
  journal->Store(
      *one,
      {.cached = 64, .billed = 5, .emitted = 6, .computed = 90, .chip_ns = 1234, .reported = 2, .input = 75});
  journal->Free(*two);
  EXPECT_EQ(journal->taken(), 1u);

  const auto contents = *ReadJournalFile(path);
  EXPECT_EQ(contents.damaged, 0u);
  ASSERT_EQ(contents.open.size(), 1u);
  const JournalEntry& entry = contents.open[0];
  EXPECT_EQ(entry.id, (RequestId{1, 77}));
  EXPECT_EQ(entry.team, 3);
  EXPECT_EQ(entry.key, 4);
  EXPECT_EQ(entry.prompt, 75);
  EXPECT_EQ(entry.opened, 1001);
  EXPECT_EQ(entry.model, "qwen");
  EXPECT_EQ(entry.counters.cached, 64);
  EXPECT_EQ(entry.counters.billed, 5);
  EXPECT_EQ(entry.counters.emitted, 6);
  EXPECT_EQ(entry.counters.computed, 90);
  EXPECT_EQ(entry.counters.chip_ns, 1234);
  EXPECT_EQ(entry.counters.reported, 2);
  EXPECT_EQ(entry.counters.input, 75);
}

TEST(Journal, OfTheFirstVersionIsReadAndWritten) {
  TempDir dir;
  const std::string path = dir.path + "/journal";
  auto journal = *Journal::Create(path, 8, 1);
  JournalEntry entry = Entry(1);
  entry.counters = {.billed = 5, .reported = 5};
  const uint32_t slot = *journal->Take(entry);
  journal->Store(slot, {.billed = 6, .reported = 6});
  const auto contents = *ReadJournalFile(path);
  EXPECT_EQ(contents.damaged, 0u);
  ASSERT_EQ(contents.open.size(), 1u);
  EXPECT_EQ(contents.open[0].model, "qwen");
  EXPECT_EQ(contents.open[0].counters.billed, 6);
  EXPECT_EQ(contents.open[0].counters.reported, 0) << "it had no room for it";
}

TEST(Journal, ASlotOfAnOlderVersionBillsItsPromptOnlyIfOutputWasBilled) {
  for (const uint32_t version : {1U, 2U}) {
    TempDir dir;
    const std::string path = dir.path + "/journal";
    auto journal = *Journal::Create(path, 8, version);
    JournalEntry long_name = Entry(2);
    long_name.model = std::string(300, 'm');
    journal->Store(*journal->Take(Entry(1)), {.cached = 64, .emitted = 6, .chip_ns = 1234});
    journal->Store(*journal->Take(long_name), {.cached = 64, .billed = 5, .input = 3});
    const auto contents = *ReadJournalFile(path);
    EXPECT_EQ(contents.damaged, 0u);
    ASSERT_EQ(contents.open.size(), 2u);
    EXPECT_EQ(contents.open[0].counters.input, 0);
    EXPECT_EQ(contents.open[0].prompt, 75);
    EXPECT_EQ(contents.open[1].counters.input, 75);
  }
}

TEST(Journal, SlotsAreUsedAgainAndNoneIsHandedOutTwice) {
  TempDir dir;
  auto journal = *Journal::Create(dir.path + "/journal", 3);
  for (int round = 0; round < 5; ++round) {
    std::vector<uint32_t> slots;
    for (int i = 0; i < 3; ++i) slots.push_back(*journal->Take(Entry(round * 3 + i)));
    EXPECT_EQ(journal->Take(Entry(99)), std::nullopt);
    EXPECT_EQ(std::set(slots.begin(), slots.end()).size(), 3u);
    EXPECT_EQ(ReadJournalFile(dir.path + "/journal")->open.size(), 3u);
    for (const uint32_t slot : slots) journal->Free(slot);
  }
  EXPECT_TRUE(ReadJournalFile(dir.path + "/journal")->open.empty());
}

TEST(Journal, ALongModelNameIsCut) {
  TempDir dir;
  auto journal = *Journal::Create(dir.path + "/journal", 1);
  JournalEntry entry = Entry(1);
  entry.model = std::string(1000, 'm');
  journal->Take(entry);
  EXPECT_EQ(ReadJournalFile(dir.path + "/journal")->open.at(0).model, std::string(kJournalModelBytes, 'm'));
}

TEST(Journal, AMissingFileIsAnEmptyJournal) {
  EXPECT_TRUE(ReadJournalFile("/nonexistent/journal")->open.empty());
}

TEST(Journal, WhatIsNoJournalIsNamedAsSuch) {
  TempDir dir;
  (void)Journal::Create(dir.path + "/journal", 2);
  const std::string good = Bytes(dir.path + "/journal");
  ASSERT_TRUE(Read(good));
  EXPECT_EQ(Read("").error().code, Code::kCorrupt);
  EXPECT_EQ(Read(good.substr(0, good.size() - 1)).error().code, Code::kCorrupt);
  std::string other = good;
  other[0] = 'X';
  EXPECT_EQ(Read(other).error().code, Code::kCorrupt);
  std::string newer = good;
  newer[8] = 9;
  EXPECT_EQ(Read(newer).error().code, Code::kUnsupported);
  std::string huge = good;
  huge[22] = 0x7f;
  EXPECT_EQ(Read(huge).error().code, Code::kCorrupt);
}

// Any damage to a slot's identity is noticed; damage elsewhere never yields counters out of bounds.
TEST(Journal, ADamagedSlotIsNotRead) {
  TempDir dir;
  auto journal = *Journal::Create(dir.path + "/journal", 1);
  journal->Take(Entry(1));
  const std::string good = Bytes(dir.path + "/journal");
  constexpr size_t kSlot = 4096, kCounters = kSlot + 8, kIdentity = kSlot + 48, kInput = kSlot + 240;
  for (size_t at = kSlot; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x80);
    const auto contents = *Read(bad);
    const bool in_counters = (at >= kCounters && at < kIdentity) || at >= kInput;
    EXPECT_EQ(contents.open.size(), in_counters ? 1u : 0u) << at;
    EXPECT_EQ(contents.damaged, in_counters ? 0u : 1u) << at;
    for (const auto& entry : contents.open) {
      EXPECT_GE(entry.counters.billed, 0);
      EXPECT_GE(entry.counters.chip_ns, 0);
    }
  }
}

}  // namespace
}  // namespace penstock
