// FairWorkers: threads that do the slow work of several owners, so that no owner's work delays another's by
// more than one piece of work.
//
// Each owner has its own queue and a count of the time that was spent on it. A free thread takes the oldest
// piece of the owner on which the least time was spent. An owner that was idle begins at the level of the
// others, so it cannot save up time. One owner uses at most `most_of_one` threads; if that is less than
// `threads`, its long pieces always leave a thread for the others.
//
// Source: start-time fair queueing (Goyal et al., 1996), charged after the fact because a piece's time is not
//         known before.
// Threads: Add from any. Work runs on the workers and must not throw.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/thread_annotations.h"

namespace penstock {

class FairWorkers {
 public:
  using Owner = int64_t;
  using Work = std::function<void()>;
  struct Options {
    std::string name;     // of the threads, up to 15 bytes
    int threads = 1;      // > 0
    int most_of_one = 1;  // threads that work for one owner at the same time
    int niceness = 0;     // of the threads: 0 is normal, 19 is the lowest priority
  };
  explicit FairWorkers(const Options& options);
  ~FairWorkers() { Stop(); }
  FairWorkers(const FairWorkers&) = delete;
  FairWorkers& operator=(const FairWorkers&) = delete;

  void Add(Owner owner, Work work) EXCLUDES(mutex_);
  // Drops what waits, on this thread, and waits for what runs; what is added later is dropped.
  void Stop() EXCLUDES(mutex_);
  size_t waiting() const EXCLUDES(mutex_);

 private:
  struct Queue {
    std::deque<Work> waiting;
    int running = 0;
    Nanos spent = 0;  // on a scale that all owners share: see Add
  };
  using Queues = std::map<Owner, Queue>;

  void Loop() EXCLUDES(mutex_);
  Queues::iterator Next() REQUIRES(mutex_);

  const Options options_;
  mutable Mutex mutex_;
  std::condition_variable wake_;
  Queues queues_ GUARDED_BY(mutex_);    // those with work, or on which more was spent than on the next one's
  Nanos level_ GUARDED_BY(mutex_) = 0;  // `spent` of the owner that was served last
  bool stop_ GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace penstock
