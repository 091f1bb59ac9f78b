// Store: the one writer of the SQLite file. Its thread commits at once; what queues meanwhile is the next
// group. A request whose open and end fall into one group is one write. Back to back, a commit begins an
// eighth of the last one's duration after it: what that one set going is then in this group, not the next.
//
// When a commit fails, the ends in it are kept and tried again with back-off until one works, together
// with everything queued meanwhile; opens are given up and reported. Nothing is dropped while the process
// lives; if it dies meanwhile, the journal still has the open requests' slots.
//
// Nobody waits for a commit but Flush: what is written completes by callback.
//
// Threads: any may call; callbacks are called from the store's thread.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/thread_annotations.h"
#include "teams/request.h"
#include "teams/sqlite.h"

namespace penstock {

// The statements behind Open and End, also used by recovery. Each is one row of `requests`; an end adds
// to `usage` only if the request was not ended before, so writing one twice does no harm.
class RequestWriter {
 public:
  static Result<RequestWriter> Prepare(Database& database);
  Status Open(const RequestEntry& request);
  Status End(const RequestEntry& request);
  // Adds what End gathered; to be called before the commit.
  Status WriteUsage();
  void ForgetUsage() { sums_.clear(); }  // the transaction was rolled back

 private:
  struct Sum {
    int64_t hour, team, key;
    std::string model;
    int64_t requests, input, cached, output, chip_ns, reported;
  };
  void Add(const RequestEntry& request);

  Database* database_ = nullptr;
  Statement open_, end_, usage_;
  std::vector<Sum> sums_;
};

class Store {
 public:
  // What one commit did. On failure `ended` is empty: those ends will come in a later group.
  struct Group {
    std::vector<RequestEntryPtr> opened, ended;
    Status status;
  };
  // `database`: set up by ConfigureWriter and PrepareSchema.
  static Result<std::unique_ptr<Store>> Start(Database database, std::function<void(Group)> done);
  // Commits what is queued (one try), then stops.
  ~Store();

  // Queues the open record; REQUIRES: its constant part is filled in.
  void Open(const RequestEntryPtr& request) EXCLUDES(mutex_);
  // Queues the end record. REQUIRES: the request is constant from here on.
  void End(const RequestEntryPtr& request) EXCLUDES(mutex_);
  // Runs `work` in a transaction of its own, after what was queued before; then `done` with what became of
  // the commit.
  using Work = std::function<Status(Database&)>;
  using Done = std::function<void(Status)>;
  void Run(Work work, Done done) EXCLUDES(mutex_);
  // Waits until everything queued before is durable, for as long as the store works.
  void Flush() EXCLUDES(mutex_);

  bool healthy() const { return healthy_.load(std::memory_order_relaxed); }
  std::string fault() const EXCLUDES(mutex_);

 private:
  struct Op {
    RequestEntryPtr request;
    bool open = false, end = false;
  };
  struct Item {
    Work work;
    Done done;
  };

  Store(Database database, std::function<void(Group)> done);
  void Loop() EXCLUDES(mutex_);
  bool WaitForWork(MutexLock& lock) REQUIRES(mutex_);
  bool Ready() const REQUIRES(mutex_);
  void CommitGroup(std::vector<Op> group);
  void RunWork(std::vector<Item> work);
  Status Transact(const std::function<Status()>& work);
  Status Write(const std::vector<Op>& group);
  void Report(const Status& status, std::vector<Op> group);
  void SetHealth(const Status& status) EXCLUDES(mutex_);
  void Checkpoint();

  // the store's thread only
  Database database_;
  RequestWriter writer_;
  const std::function<void(Group)> done_;
  std::vector<Op> kept_;  // ends of failed groups
  int pages_in_wal_ = 0;
  std::chrono::milliseconds back_off_{0};
  std::chrono::steady_clock::time_point not_before_;

  std::atomic<bool> healthy_ = true;
  mutable Mutex mutex_;
  std::condition_variable wake_, idle_;
  std::string fault_ GUARDED_BY(mutex_);
  std::vector<Op> queue_ GUARDED_BY(mutex_);
  std::vector<Item> work_ GUARDED_BY(mutex_);
  uint64_t group_ GUARDED_BY(mutex_) = 1;  // the one that is being queued
  bool sleeping_ GUARDED_BY(mutex_) = false;
  bool busy_ GUARDED_BY(mutex_) = false;
  bool stop_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace penstock
