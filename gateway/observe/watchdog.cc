#include "gateway/observe/watchdog.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>

#include <cstdlib>
#include <ctime>
#include <fstream>
#include <string>

namespace penstock::gateway {
namespace {

std::atomic<const char*> doing = "work outside of a handler";

}  // namespace

void Watchdog::Doing(const char* what) {
  doing.store(what, std::memory_order_relaxed);
}

Watchdog::Watchdog(boost::asio::io_context& io, Nanos limit, Nanos period)
    : period_(period),
      most_looks_(static_cast<int>((limit + period - 1) / period)),
      timer_(io),
      thread_([this] { Watch(); }) {
  Beat();
}

Watchdog::~Watchdog() {
  {
    MutexLock lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Watchdog::Beat() {
  beats_.fetch_add(1, std::memory_order_relaxed);
  timer_.expires_after(std::chrono::nanoseconds(period_));
  timer_.async_wait([this](const boost::system::error_code& ec) {
    if (!ec) Beat();
  });
}

Nanos Watchdog::IoCpuTime() const {
  clockid_t clock{};
  timespec time{};
  if (pthread_getcpuclockid(io_thread_, &clock) != 0 || clock_gettime(clock, &time) != 0) return 0;
  return time.tv_sec * kSecond + time.tv_nsec;
}

// From the state that the kernel names: a busy machine may give a thread that computes little time.
const char* Watchdog::IoThreadDoes() const {
  std::ifstream file(fmt::format("/proc/self/task/{}/stat", io_thread_id_));
  std::string stat;
  std::getline(file, stat);
  const size_t name_end = stat.rfind(')');
  const char state = name_end + 2 < stat.size() ? stat[name_end + 2] : '?';
  return state == 'R' ? "computes" : state == 'D' ? "waits for a disk" : "waits";
}

// False: the watch is over.
bool Watchdog::WaitOnePeriod() {
  const auto end = std::chrono::steady_clock::now() + std::chrono::nanoseconds(period_);
  MutexLock lock(mutex_);
  while (!stop_ && lock.WaitUntil(wake_, end) == std::cv_status::no_timeout) {
  }
  return !stop_;
}

void Watchdog::Watch() {
  prctl(PR_SET_NAME, "watchdog");
  uint64_t seen = 0;
  int looks = 0;
  Nanos cpu_time = 0;
  while (WaitOnePeriod()) {
    const uint64_t beats = beats_.load(std::memory_order_relaxed);
    if (beats != seen) {
      seen = beats;
      looks = 0;
      cpu_time = IoCpuTime();
    } else if (++looks >= most_looks_) {
      EndProcess(IoCpuTime() - cpu_time);
    }
  }
}

void Watchdog::EndProcess(Nanos cpu_time) const {
  const double seconds = static_cast<double>(period_) * most_looks_ / kSecond;
  spdlog::critical(
      "the gateway's I/O thread made no progress for {:.1f} s: it was busy with {} and used {:.1f} s of "
      "processor time, and it {}; the gateway ends and is started again",
      seconds, doing.load(std::memory_order_relaxed), static_cast<double>(cpu_time) / kSecond,
      IoThreadDoes());
  spdlog::default_logger()->flush();
  std::_Exit(kExitStatus);
}

}  // namespace penstock::gateway
