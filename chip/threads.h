// ThreadPool: the threads that compute one engine's steps.
//
// A step is a few hundred short parallel sections, so a section must start and end in about a microsecond:
// workers spin briefly between sections and then sleep on a futex, so that an idle engine costs nothing and
// other processes can use the cores. Workers get work through an atomic cursor (For), and a section ends when
// its work is done: a worker that the operating system preempted delays only its own chunk, and a section
// does not wait for a worker that arrives too late.
//
// Threads: Run and For are called by one thread at a time, which takes part as worker 0. Neither may be
//          called from inside a section.
// Owns:    workers() - 1 threads, each pinned to one CPU of the affinity mask at construction.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace penstock::chip {

class ThreadPool {
 public:
  // workers: how many threads compute, the caller included; ≤ 0: one per usable CPU.
  explicit ThreadPool(int workers = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int workers() const { return static_cast<int>(threads_.size()) + 1; }

  // Pins the calling thread to the CPU of worker 0. For a thread that only runs this pool.
  void PinCaller() const;

  // Calls fn(worker, workers) once on every worker; returns when all have returned. fn must not throw.
  template <class Fn>
  void Run(const Fn& fn) {
    RunErased(&fn, Erased<Fn>, /*everyone=*/true);
  }

  // Calls fn(begin, end, worker) over [0, count) in chunks of `chunk` (the last may be shorter), each once,
  // in any order. Runs only on the caller if there is one chunk or one worker.
  template <class Fn>
  void For(int64_t count, int64_t chunk, const Fn& fn) {
    if (workers() == 1 || count <= chunk) {
      if (count > 0) fn(int64_t{0}, count, 0);
      return;
    }
    std::atomic<int64_t> cursor{0};
    const auto take = [&](int worker, int) {
      for (;;) {
        const int64_t begin = cursor.fetch_add(chunk, std::memory_order_relaxed);
        if (begin >= count) return;
        fn(begin, begin + chunk < count ? begin + chunk : count, worker);
      }
    };
    RunErased(&take, Erased<decltype(take)>, /*everyone=*/false);
  }

 private:
  using Call = void (*)(const void* context, int worker, int workers);

  template <class Fn>
  static void Erased(const void* context, int worker, int workers) {
    (*static_cast<const Fn*>(context))(worker, workers);
  }

  // everyone: waits until every worker has been in the section, not only until none is inside.
  void RunErased(const void* context, Call call, bool everyone);
  bool Join(uint32_t epoch);
  void Leave();
  template <class Done>
  void WaitUntil(const Done& done);
  void Work(int worker);

  std::vector<int> cpus_;             // worker w runs on cpus_[w % size]; constant after construction
  std::vector<std::thread> threads_;  // workers 1 …; constant after construction

  // Written by the caller while no section is open, read by workers that joined one.
  const void* context_ = nullptr;
  Call call_ = nullptr;

  // Each on its own cache line, because workers poll epoch_ while others enter and leave.
  alignas(64) std::atomic<uint32_t> epoch_{0};  // sections begun; futex word of sleeping workers
  // The gate of the newest section: its epoch << 32 | kOpen | workers inside.
  alignas(64) std::atomic<uint64_t> gate_{0};
  std::atomic<uint32_t> left_{0};  // counts departures: futex word of the caller
  std::atomic<uint32_t> been_{0};  // workers that have been in this section
  std::atomic<bool> caller_sleeps_{false};
  alignas(64) std::atomic<uint32_t> sleepers_{0};  // workers that sleep, or are about to
  std::atomic<bool> stop_{false};
};

}  // namespace penstock::chip
