#include "teams/store.h"

#include <spdlog/spdlog.h>

#include <algorithm>

namespace penstock {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstBackOff{50}, kLongestBackOff{2000}, kIdle{500};
constexpr int kGatherPart = 8;
constexpr int kIdleCheckpointPages = 1000, kForcedCheckpointPages = 20000;  // of the write-ahead log
constexpr Nanos kHour = 3600 * kSecond;

int CountPages(void* pages, sqlite3*, const char*, int in_wal) {
  *static_cast<int*>(pages) = in_wal;
  return SQLITE_OK;
}

}  // namespace

// ---- statements ----

Result<RequestWriter> RequestWriter::Prepare(Database& database) {
  RequestWriter writer;
  writer.database_ = &database;
  PENSTOCK_ASSIGN(writer.open_,
                  database.Prepare("INSERT INTO requests(sequence, nonce, team, key, model, opened, prompt)"
                                   " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)"));
  PENSTOCK_ASSIGN(
      writer.end_,
      database.Prepare(
          "INSERT INTO requests(sequence, nonce, team, key, model, opened, prompt,"
          " ended, outcome, detail, cached, billed, emitted, computed, chip_ns, trail, reported,"
          " input)"
          " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17,"
          " ?18)"
          " ON CONFLICT(sequence) DO UPDATE SET ended=excluded.ended, outcome=excluded.outcome,"
          " detail=excluded.detail, cached=excluded.cached, billed=excluded.billed,"
          " emitted=excluded.emitted, computed=excluded.computed, chip_ns=excluded.chip_ns,"
          " trail=excluded.trail, reported=excluded.reported, input=excluded.input WHERE ended=0"));
  PENSTOCK_ASSIGN(
      writer.usage_,
      database.Prepare(
          "INSERT INTO usage VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
          " ON CONFLICT(hour, team, key, model) DO UPDATE SET requests=requests+excluded.requests,"
          " input=input+excluded.input, cached=cached+excluded.cached,"
          " output=output+excluded.output, chip_ns=chip_ns+excluded.chip_ns,"
          " reported=reported+excluded.reported"));
  return writer;
}

Status RequestWriter::Open(const RequestEntry& r) {
  return open_
      .Bind(r.id.sequence, static_cast<int64_t>(r.id.nonce), r.team, r.key, r.model, r.opened, r.prompt)
      .Run();
}

Status RequestWriter::End(const RequestEntry& r) {
  const std::string trail = FormatTrail(r.trail);
  const Counters& c = r.counters;
  const Usage usage = UsageOf(c);
  PENSTOCK_TRY(end_.Bind(r.id.sequence, static_cast<int64_t>(r.id.nonce), r.team, r.key, r.model, r.opened,
                         r.prompt, r.ended, r.outcome, r.detail, usage.cached, c.billed, c.emitted,
                         c.computed, c.chip_ns, trail, c.reported, usage.input)
                   .Run());
  if (database_->Changes() == 1) Add(r);
  return {};
}

void RequestWriter::Add(const RequestEntry& r) {
  const int64_t hour = r.opened / kHour;  // its id may be of a later hour: ids never go back
  auto sum = std::ranges::find_if(sums_, [&](const Sum& s) {
    return s.hour == hour && s.team == r.team && s.key == r.key && s.model == r.model;
  });
  if (sum == sums_.end()) sum = sums_.insert(sum, Sum{hour, r.team, r.key, r.model, 0, 0, 0, 0, 0, 0});
  ++sum->requests;
  const Usage usage = UsageOf(r.counters);
  sum->input += usage.input;
  sum->cached += usage.cached;
  sum->output += usage.billed;
  sum->reported += usage.reported;
  sum->chip_ns += r.counters.chip_ns;
}

Status RequestWriter::WriteUsage() {
  for (const Sum& s : std::exchange(sums_, {})) {
    PENSTOCK_TRY(usage_
                     .Bind(s.hour, s.team, s.key, s.model, s.requests, s.input, s.cached, s.output, s.chip_ns,
                           s.reported)
                     .Run());
  }
  return {};
}

// ---- queueing ----

Store::Store(Database database, std::function<void(Group)> done)
    : database_(std::move(database)), done_(std::move(done)) {}

Result<std::unique_ptr<Store>> Store::Start(Database database, std::function<void(Group)> done) {
  std::unique_ptr<Store> store(new Store(std::move(database), std::move(done)));
  PENSTOCK_ASSIGN(store->writer_, RequestWriter::Prepare(store->database_));
  store->thread_ = std::thread([raw = store.get()] { raw->Loop(); });
  return store;
}

Store::~Store() {
  {
    MutexLock lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Store::Open(const RequestEntryPtr& request) {
  MutexLock lock(mutex_);
  request->queued_group = group_;
  request->queued_at = queue_.size();
  queue_.push_back({request, true, false});
  const bool wake = sleeping_;
  lock.Unlock();
  if (wake) wake_.notify_one();
}

void Store::End(const RequestEntryPtr& request) {
  MutexLock lock(mutex_);
  if (request->queued_group == group_) {
    queue_[request->queued_at].end = true;
  } else {
    queue_.push_back({request, false, true});
  }
  const bool wake = sleeping_;
  lock.Unlock();
  if (wake) wake_.notify_one();
}

void Store::Run(Work work, Done done) {
  {
    MutexLock lock(mutex_);
    work_.push_back({std::move(work), std::move(done)});
  }
  wake_.notify_one();
}

void Store::Flush() {
  MutexLock lock(mutex_);
  while (healthy() && (!queue_.empty() || !work_.empty() || busy_)) lock.Wait(idle_);
}

std::string Store::fault() const {
  MutexLock lock(mutex_);
  return fault_;
}

// ---- the store's thread ----

void Store::Loop() {
  sqlite3_wal_hook(database_.handle(), CountPages, &pages_in_wal_);
  MutexLock lock(mutex_);
  bool more = true;
  while (more) {
    more = WaitForWork(lock);
    std::vector<Op> group = std::exchange(queue_, {});
    std::vector<Item> work = std::exchange(work_, {});
    ++group_;
    busy_ = true;
    lock.Unlock();
    if (!group.empty() || !kept_.empty() || !healthy()) CommitGroup(std::move(group));
    RunWork(std::move(work));
    if (pages_in_wal_ > kForcedCheckpointPages) Checkpoint();
    lock.Lock();
    busy_ = false;
    idle_.notify_all();
  }
}

bool Store::Ready() const {
  return stop_ || !work_.empty() || (healthy() && !queue_.empty());
}

// False: this is the last round.
bool Store::WaitForWork(MutexLock& lock) {
  using Clock = std::chrono::steady_clock;
  sleeping_ = true;
  if (!healthy()) {
    const auto until = Clock::now() + back_off_;
    while (!Ready() && lock.WaitUntil(wake_, until) == std::cv_status::no_timeout) {
    }
  } else {
    const auto until = Clock::now() + kIdle;
    while (!Ready() && lock.WaitUntil(wake_, until) == std::cv_status::no_timeout) {
    }
    if (!Ready() && pages_in_wal_ > kIdleCheckpointPages) {
      mutex_.Unlock();  // `lock` holds it again before the next use
      Checkpoint();
      mutex_.Lock();
    }
    while (!Ready()) lock.Wait(wake_);
  }
  sleeping_ = false;
  while (!stop_ && work_.empty() && lock.WaitUntil(wake_, not_before_) == std::cv_status::no_timeout) {
  }
  return !stop_ || !queue_.empty();
}

void Store::CommitGroup(std::vector<Op> group) {
  group.insert(group.end(), std::make_move_iterator(kept_.begin()), std::make_move_iterator(kept_.end()));
  kept_.clear();
  const auto start = std::chrono::steady_clock::now();
  const Status status = Transact([&] { return Write(group); });
  const auto end = std::chrono::steady_clock::now();
  not_before_ = end + (end - start) / kGatherPart;
  SetHealth(status);
  Report(status, std::move(group));
}

Status Store::Write(const std::vector<Op>& group) {
  writer_.ForgetUsage();
  for (const Op& op : group) {
    PENSTOCK_TRY(op.end ? writer_.End(*op.request) : writer_.Open(*op.request));
  }
  PENSTOCK_TRY(writer_.WriteUsage());
  // With nothing else to write, a fault is known to be over only by writing something.
  return group.empty() ? database_.Execute("INSERT OR REPLACE INTO meta VALUES('probe', unixepoch())")
                       : Status{};
}

Status Store::Transact(const std::function<Status()>& work) {
  PENSTOCK_TRY(database_.Execute("BEGIN IMMEDIATE"));
  Status status = work();
  if (status) status = database_.Execute("COMMIT");
  if (!status && sqlite3_get_autocommit(database_.handle()) == 0) (void)database_.Execute("ROLLBACK");
  return status;
}

void Store::Report(const Status& status, std::vector<Op> group) {
  Group report{.opened = {}, .ended = {}, .status = status};
  for (Op& op : group) {
    if (op.open) report.opened.push_back(op.request);
    if (!op.end) continue;
    if (status) {
      report.ended.push_back(std::move(op.request));
    } else {
      kept_.push_back({std::move(op.request), false, true});
    }
  }
  if (!report.opened.empty() || !report.ended.empty()) done_(std::move(report));
}

void Store::RunWork(std::vector<Item> work) {
  for (Item& item : work) {
    Status status = Transact([&] { return item.work(database_); });
    if (!status && status.error().code == Code::kIo) SetHealth(status);
    item.done(std::move(status));
  }
}

void Store::SetHealth(const Status& status) {
  const bool was = healthy();
  if (status) {
    back_off_ = milliseconds(0);
  } else {
    back_off_ = std::clamp(back_off_ * 2, kFirstBackOff, kLongestBackOff);
  }
  {
    MutexLock lock(mutex_);
    fault_ = status ? "" : status.error().message;
    healthy_.store(status.has_value(), std::memory_order_relaxed);
  }
  if (was && !status)
    spdlog::error("the store cannot be written, nothing new is admitted: {}", status.error().message);
  if (!was && status) spdlog::info("the store can be written again");
}

// As far as readers allow; never waits for them.
void Store::Checkpoint() {
  pages_in_wal_ = 0;
  sqlite3_wal_checkpoint_v2(database_.handle(), nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
}

}  // namespace penstock
