#include "chip/threads.h"

#include <gtest/gtest.h>

#include <chrono>
#include <numeric>

namespace penstock::chip {
namespace {

TEST(ThreadPool, RunsEveryWorkerExactlyOnce) {
  for (int workers = 1; workers <= 5; ++workers) {
    ThreadPool pool(workers);
    std::vector<std::atomic<int>> calls(static_cast<size_t>(workers));
    for (int round = 1; round <= 100; ++round) {
      pool.Run([&](int worker, int of) {
        EXPECT_EQ(of, workers);
        calls[static_cast<size_t>(worker)].fetch_add(1);
      });
      for (const std::atomic<int>& count : calls) ASSERT_EQ(count.load(), round);
    }
  }
}

TEST(ThreadPool, TheCallerIsWorkerZero) {
  ThreadPool pool(3);
  std::thread::id zero;
  pool.Run([&](int worker, int) {
    if (worker == 0) zero = std::this_thread::get_id();
  });
  EXPECT_EQ(zero, std::this_thread::get_id());
}

TEST(ThreadPool, ForCoversEachIndexOnceForAnyChunkSize) {
  ThreadPool pool(3);
  for (const int64_t count : {0, 1, 2, 7, 64, 1000}) {
    for (const int64_t chunk : {1, 3, 16, 5000}) {
      std::vector<std::atomic<int>> seen(static_cast<size_t>(count));
      pool.For(count, chunk, [&](int64_t begin, int64_t end, int worker) {
        EXPECT_LT(begin, end);
        EXPECT_GE(worker, 0);
        EXPECT_LT(worker, 3);
        for (int64_t i = begin; i < end; ++i) seen[static_cast<size_t>(i)].fetch_add(1);
      });
      for (const std::atomic<int>& times : seen) ASSERT_EQ(times.load(), 1);
    }
  }
}

TEST(ThreadPool, SectionsAreOrderedForTheCaller) {
  // Plain writes: each section must see all of the one before (ThreadSanitizer checks the fences too).
  ThreadPool pool(4);
  std::vector<int64_t> cells(64, 0);
  for (int round = 0; round < 2000; ++round) {
    pool.For(64, 4, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) cells[static_cast<size_t>(i)] += 1;
    });
  }
  EXPECT_EQ(std::accumulate(cells.begin(), cells.end(), int64_t{0}), 64 * 2000);
}

TEST(ThreadPool, WakesSleepingWorkers) {
  ThreadPool pool(2);
  std::atomic<int> calls{0};
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // much longer than the spin
    pool.Run([&](int, int) { calls.fetch_add(1); });
  }
  EXPECT_EQ(calls.load(), 10);
}

TEST(ThreadPool, TheCallerSleepsThroughASlowWorkerAndWakes) {
  ThreadPool pool(2);
  std::atomic<bool> finished{false};
  pool.Run([&](int worker, int) {
    if (worker == 0) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    finished.store(true);
  });
  EXPECT_TRUE(finished.load());
}

}  // namespace
}  // namespace penstock::chip
