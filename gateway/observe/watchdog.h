// Watchdog: ends the process when its io thread makes no progress, so that the supervisor starts it again.
// Engines keep their models meanwhile, and journal slots end what was open.
//
// The io thread beats twice a second. A thread of the watchdog looks twice a second, and counts its own looks
// rather than reading a clock: when the machine was suspended, or the whole process stopped, it looked no
// more often than the io thread could beat. Before it ends the process it logs what the io thread was doing
// and how much of a core it used, which tells a loop from a wait.
//
// Threads: built, used and destroyed on the io thread.
#pragma once

#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <condition_variable>
#include <thread>

#include "base/clock.h"
#include "base/thread_annotations.h"

namespace penstock::gateway {

class Watchdog {
 public:
  static constexpr int kExitStatus = 70;  // of a process that it ends

  // `limit`: longest time without progress, rounded up to `period`s.
  Watchdog(boost::asio::io_context& io, Nanos limit, Nanos period = 500 * kMillisecond);
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // What this thread does from now on; a text that is never freed. For the log only.
  static void Doing(const char* what);

 private:
  void Beat();
  void Watch() EXCLUDES(mutex_);
  bool WaitOnePeriod() EXCLUDES(mutex_);
  [[noreturn]] void EndProcess(Nanos cpu_time) const;
  Nanos IoCpuTime() const;
  const char* IoThreadDoes() const;

  const Nanos period_;
  const int most_looks_;
  const pthread_t io_thread_ = pthread_self();
  const pid_t io_thread_id_ = gettid();
  boost::asio::steady_timer timer_;
  std::atomic<uint64_t> beats_ = 0;
  Mutex mutex_;
  std::condition_variable wake_;
  bool stop_ GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace penstock::gateway
