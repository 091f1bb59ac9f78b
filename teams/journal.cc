#include "teams/journal.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <fstream>
#include <iterator>
#include <mutex>
#include <thread>

#include "base/check.h"
#include "base/random.h"

namespace penstock {
namespace {

constexpr char kMagic[8] = {'P', 'N', 'S', 'T', 'J', 'R', 'N', '1'};
constexpr size_t kHeaderBytes = 4096;
constexpr size_t kMaxSlots = size_t{1} << 22;
constexpr auto kSyncEvery = std::chrono::seconds(1);

struct Header {
  char magic[8];
  uint32_t version, slot_bytes;
  uint64_t slots;
};

struct Identity {
  int64_t sequence;
  uint64_t nonce;
  int64_t team, key, prompt, opened;
  uint64_t model_bytes;
  char model[kJournalModelBytes];
};

struct Slot {
  uint64_t state;                                   // 0: free; else Checksum(identity)
  int64_t cached, billed, emitted, computed, chip;  // beside `state`: one cache line
  Identity identity;
  int64_t input;     // before version 3: the next characters of the model's name
  int64_t reported;  // before version 2: the last ones
};
static_assert(sizeof(Slot) == 256 && kHeaderBytes % sizeof(Slot) == 0, "a slot never spans two pages");
static_assert(std::has_unique_object_representations_v<Identity>, "no padding in the checksum");

uint64_t Checksum(const Slot& slot, uint32_t version) {
  uint64_t words[sizeof(Identity) / 8];
  std::memcpy(words, &slot.identity, sizeof words);
  uint64_t sum = version;
  for (const uint64_t word : words) sum = Mix(sum ^ word);
  if (version < 3) sum = Mix(sum ^ static_cast<uint64_t>(slot.input));
  if (version < 2) sum = Mix(sum ^ static_cast<uint64_t>(slot.reported));
  return sum == 0 ? 1 : sum;
}

// A counter is at most this, also in a damaged file: sums of many stay far from overflow.
int64_t Sane(int64_t counter) {
  return std::clamp<int64_t>(counter, 0, int64_t{1} << 56);
}

std::optional<JournalEntry> ReadSlot(const Slot& slot, uint32_t version) {
  const Identity& identity = slot.identity;
  const size_t longest = kJournalModelBytes + (version < 3 ? 8 : 0) + (version < 2 ? 8 : 0);
  if (slot.state != Checksum(slot, version) || identity.model_bytes > longest) return std::nullopt;
  JournalEntry entry;
  entry.id = {identity.sequence, identity.nonce};
  entry.team = identity.team;
  entry.key = identity.key;
  entry.prompt = Sane(identity.prompt);
  entry.opened = identity.opened;
  entry.model.assign(identity.model, std::min<size_t>(identity.model_bytes, kJournalModelBytes));
  entry.counters = {Sane(slot.cached),   Sane(slot.billed), Sane(slot.emitted),
                    Sane(slot.computed), Sane(slot.chip),   version < 2 ? 0 : Sane(slot.reported)};
  entry.counters.input = version < 3 ? (slot.billed > 0 ? entry.prompt : 0) : Sane(slot.input);
  return entry;
}

class Mapped final : public Journal {
 public:
  Mapped(std::byte* map, size_t bytes, size_t slots, uint32_t version)
      : map_(map),
        bytes_(bytes),
        slots_(reinterpret_cast<Slot*>(map + kHeaderBytes)),
        count_(slots),
        version_(version) {
    free_.reserve(slots);
    for (size_t i = slots; i-- > 0;) free_.push_back(static_cast<uint32_t>(i));
    sync_ = std::thread([this] { SyncLoop(); });
  }
  ~Mapped() override {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_one();
    sync_.join();
    ::munmap(map_, bytes_);
  }

  std::optional<uint32_t> Take(const JournalEntry& entry) override;
  void Free(uint32_t slot) override;
  void Store(uint32_t slot, const Counters& counters) override;
  size_t taken() const override { return count_ - free_.size(); }

 private:
  template <class T>
  static void Put(T& word, T value, std::memory_order order = std::memory_order_relaxed) {
    std::atomic_ref(word).store(value, order);
  }
  void Touch() {
    if (!touched_.load(std::memory_order_relaxed)) touched_.store(true, std::memory_order_relaxed);
  }
  void SyncLoop();

  std::byte* const map_;
  const size_t bytes_;
  Slot* const slots_;
  const size_t count_;
  const uint32_t version_;
  std::vector<uint32_t> free_;  // the last freed goes first: few pages are dirty

  std::atomic<bool> touched_ = false;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  std::thread sync_;
};

std::optional<uint32_t> Mapped::Take(const JournalEntry& entry) {
  if (free_.empty()) return std::nullopt;
  const uint32_t index = free_.back();
  free_.pop_back();
  Slot& slot = slots_[index];
  slot.identity = {entry.id.sequence, entry.id.nonce, entry.team, entry.key,
                   entry.prompt,      entry.opened,   0,          {}};
  slot.identity.model_bytes = std::min(entry.model.size(), kJournalModelBytes);
  std::memcpy(slot.identity.model, entry.model.data(), slot.identity.model_bytes);
  Store(index, entry.counters);
  Put(slot.state, Checksum(slot, version_), std::memory_order_release);  // from here on it is readable
  return index;
}

void Mapped::Free(uint32_t index) {
  // Released, so that no store of the slot's next owner is seen before it.
  Put(slots_[index].state, uint64_t{0}, std::memory_order_release);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  Touch();
  free_.push_back(index);
}

void Mapped::Store(uint32_t index, const Counters& counters) {
  Slot& slot = slots_[index];
  Put(slot.cached, counters.cached);
  Put(slot.emitted, counters.emitted);
  Put(slot.computed, counters.computed);
  Put(slot.chip, counters.chip_ns);
  if (version_ > 1) Put(slot.reported, counters.reported);
  if (version_ > 2) Put(slot.input, counters.input);
  Put(slot.billed, counters.billed, std::memory_order_release);
  Touch();
}

void Mapped::SyncLoop() {
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, kSyncEvery, [this] { return stop_; })) {
    if (!touched_.exchange(false, std::memory_order_relaxed)) continue;
    lock.unlock();
    ::msync(map_, bytes_, MS_SYNC);
    lock.lock();
  }
}

// Zeros are written, not merely reserved: a store into the map can then never run out of disk (SIGBUS),
// and the file system has no extent to convert later.
Status WriteEmpty(int fd, size_t slots, uint32_t version) {
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.version = version;
  header.slot_bytes = sizeof(Slot);
  header.slots = slots;
  std::vector<std::byte> block(1 << 20);
  const size_t bytes = kHeaderBytes + slots * sizeof(Slot);
  std::memcpy(block.data(), &header, sizeof header);
  for (size_t at = 0; at < bytes;) {
    const ssize_t written =
        ::pwrite(fd, block.data(), std::min(block.size(), bytes - at), static_cast<off_t>(at));
    if (written <= 0) return FailErrno(Code::kIo, "cannot write the journal");
    at += static_cast<size_t>(written);
    std::memset(block.data(), 0, sizeof header);
  }
  if (::fsync(fd) != 0) return FailErrno(Code::kIo, "cannot write the journal");
  return {};
}

Result<std::unique_ptr<Journal>> Map(int fd, size_t slots, uint32_t version) {
  const size_t bytes = kHeaderBytes + slots * sizeof(Slot);
  void* const map = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (map == MAP_FAILED) return FailErrno(Code::kIo, "cannot map the journal");
  return std::make_unique<Mapped>(static_cast<std::byte*>(map), bytes, slots, version);
}

}  // namespace

Result<JournalContents> ReadJournal(std::span<const std::byte> bytes) {
  Header header;
  if (bytes.size() < kHeaderBytes) return Fail(Code::kCorrupt, "shorter than a journal's header");
  std::memcpy(&header, bytes.data(), sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) return Fail(Code::kCorrupt, "not a journal");
  if (header.version == 0 || header.version > kJournalVersion) {
    return Fail(Code::kUnsupported, "of version {}; this Penstock knows {}", header.version, kJournalVersion);
  }
  if (header.slot_bytes != sizeof(Slot) || header.slots > kMaxSlots ||
      bytes.size() < kHeaderBytes + header.slots * sizeof(Slot)) {
    return Fail(Code::kCorrupt, "its header does not fit its size");
  }
  JournalContents contents;
  for (size_t i = 0; i < header.slots; ++i) {
    Slot slot;
    std::memcpy(&slot, bytes.data() + kHeaderBytes + i * sizeof(Slot), sizeof slot);
    if (slot.state == 0) continue;
    if (auto entry = ReadSlot(slot, header.version)) {
      contents.open.push_back(*std::move(entry));
    } else {
      ++contents.damaged;
    }
  }
  return contents;
}

Result<JournalContents> ReadJournalFile(const std::string& path) {
  if (::access(path.c_str(), F_OK) != 0) return JournalContents{};
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!file) return Fail(Code::kIo, "cannot read {}", path);
  auto contents = ReadJournal(std::as_bytes(std::span(bytes)));
  if (!contents) contents.error().message = fmt::format("{}: {}", path, contents.error().message);
  return contents;
}

Result<std::unique_ptr<Journal>> Journal::Create(const std::string& path, size_t slots, uint32_t version) {
  PENSTOCK_CHECK(slots > 0 && slots <= kMaxSlots);
  const std::string fresh = path + ".new";
  const int fd = ::open(fresh.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return FailErrno(Code::kIo, "cannot create " + fresh);
  Result<std::unique_ptr<Journal>> journal;
  if (const Status written = WriteEmpty(fd, slots, version); !written) {
    journal = std::unexpected(written.error());
  } else if (::rename(fresh.c_str(), path.c_str()) != 0) {
    journal = FailErrno(Code::kIo, "cannot replace " + path);
  } else {
    journal = Map(fd, slots, version);
  }
  ::close(fd);
  return journal;
}

}  // namespace penstock
