#include "chip/threads.h"

#include <immintrin.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "chip/cpu.h"

namespace penstock::chip {
namespace {

// About 50 µs: longer than the serial gaps inside a step, far shorter than a scheduler's time slice.
constexpr int kSpins = 1500;

constexpr uint64_t kOpen = uint64_t{1} << 31;  // in the gate: workers may still enter
constexpr uint64_t kInside = kOpen - 1;        // in the gate: how many workers are inside

// C++ uses the word as an std::atomic; the kernel sees its 32 bits.
void FutexWait(std::atomic<uint32_t>& word, uint32_t expected) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}

void FutexWakeAll(std::atomic<uint32_t>& word) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0);
}

template <class Done>
bool SpinUntil(const Done& done) {
  for (int i = 0; i < kSpins; ++i) {
    if (done()) return true;
    _mm_pause();
  }
  return false;
}

// Best effort: a container may forbid it, and an unpinned worker is still correct.
void Pin(pthread_t thread, int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  pthread_setaffinity_np(thread, sizeof(set), &set);
}

}  // namespace

ThreadPool::ThreadPool(int workers) : cpus_(UsableCpus()) {
  if (workers <= 0) workers = static_cast<int>(cpus_.size());
  threads_.reserve(static_cast<size_t>(workers - 1));
  for (int worker = 1; worker < workers; ++worker) {
    threads_.emplace_back([this, worker] { Work(worker); });
    Pin(threads_.back().native_handle(), cpus_[static_cast<size_t>(worker) % cpus_.size()]);
  }
}

ThreadPool::~ThreadPool() {
  stop_.store(true);
  epoch_.fetch_add(1);
  FutexWakeAll(epoch_);
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::PinCaller() const {
  Pin(pthread_self(), cpus_[0]);
}

void ThreadPool::RunErased(const void* context, Call call, bool everyone) {
  if (threads_.empty()) return call(context, 0, 1);
  context_ = context;
  call_ = call;
  been_.store(0, std::memory_order_relaxed);
  const uint32_t epoch = epoch_.load(std::memory_order_relaxed) + 1;
  gate_.store(uint64_t{epoch} << 32 | kOpen, std::memory_order_release);
  // Sequentially consistent against Work's sleepers_ and epoch_: either we see the sleeper and wake it, or
  // it sees the new epoch and does not sleep.
  epoch_.store(epoch);
  if (sleepers_.load() > 0) FutexWakeAll(epoch_);

  call(context, 0, workers());

  if (everyone) WaitUntil([&] { return been_.load(std::memory_order_acquire) == threads_.size(); });
  gate_.fetch_and(~kOpen);
  WaitUntil([&] { return (gate_.load(std::memory_order_acquire) & kInside) == 0; });
}

template <class Done>
void ThreadPool::WaitUntil(const Done& done) {
  if (SpinUntil(done)) return;
  caller_sleeps_.store(true);
  for (;;) {
    const uint32_t left = left_.load();
    if (done()) break;
    FutexWait(left_, left);
  }
  caller_sleeps_.store(false);
}

// Enters section `epoch`, unless it is over.
bool ThreadPool::Join(uint32_t epoch) {
  uint64_t gate = gate_.load(std::memory_order_relaxed);
  while (gate >> 32 == epoch && (gate & kOpen) != 0) {
    if (gate_.compare_exchange_weak(gate, gate + 1, std::memory_order_acquire)) return true;
  }
  return false;
}

// The caller may end its section as soon as the gate shows that no worker is inside; the pool itself lives
// longer.
void ThreadPool::Leave() {
  been_.fetch_add(1, std::memory_order_release);
  gate_.fetch_sub(1, std::memory_order_release);
  left_.fetch_add(1);
  if (caller_sleeps_.load()) FutexWakeAll(left_);
}

void ThreadPool::Work(int worker) {
  for (uint32_t seen = 0;;) {
    if (!SpinUntil([&] { return epoch_.load(std::memory_order_acquire) != seen; })) {
      sleepers_.fetch_add(1);
      while (epoch_.load() == seen) FutexWait(epoch_, seen);
      sleepers_.fetch_sub(1);
    }
    seen = epoch_.load(std::memory_order_acquire);  // whole sections may have passed
    if (stop_.load()) return;
    if (!Join(seen)) continue;
    call_(context_, worker, workers());
    Leave();
  }
}

}  // namespace penstock::chip
