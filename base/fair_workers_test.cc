#include "base/fair_workers.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <latch>

namespace penstock {
namespace {

void Spend(std::chrono::milliseconds time) {
  std::this_thread::sleep_for(time);
}

TEST(FairWorkers, EachOwnersWorkRunsInItsOrder) {
  std::vector<int> order;
  {
    FairWorkers workers({.name = "test"});
    std::latch done(100);
    for (int i = 0; i < 100; ++i) {
      workers.Add(1, [&, i] {
        order.push_back(i);
        done.count_down();
      });
    }
    done.wait();
  }
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

TEST(FairWorkers, AnOwnerWithMuchWorkDelaysAnotherByOnePiece) {
  std::atomic<int> greedy = 0;
  FairWorkers workers({.name = "test"});
  for (int i = 0; i < 200; ++i) {
    workers.Add(1, [&] {
      Spend(std::chrono::milliseconds(5));
      ++greedy;
    });
  }
  Spend(std::chrono::milliseconds(12));
  for (int round = 0; round < 5; ++round) {
    const int before = greedy;
    std::promise<void> done;
    workers.Add(2, [&] { done.set_value(); });
    done.get_future().wait();
    EXPECT_LE(greedy - before, 2);
  }
}

TEST(FairWorkers, TimeIsSharedNotPieces) {
  std::atomic<int> small = 0, large = 0;
  std::atomic<bool> over = false;
  FairWorkers workers({.name = "test"});
  for (int i = 0; i < 2000; ++i) {
    workers.Add(1, [&] {
      if (over) return;
      Spend(std::chrono::milliseconds(1));
      ++small;
    });
    workers.Add(2, [&] {
      if (over) return;
      Spend(std::chrono::milliseconds(10));
      ++large;
    });
  }
  while (large < 20) Spend(std::chrono::milliseconds(1));
  over = true;
  EXPECT_GT(small, 3 * large) << "ten small pieces take as long as a large one";
}

TEST(FairWorkers, OneThreadIsLeftForTheOthers) {
  std::promise<void> release, done;
  const std::shared_future<void> released = release.get_future().share();
  FairWorkers workers({.name = "test", .threads = 2, .most_of_one = 1});
  for (int i = 0; i < 3; ++i) workers.Add(1, [released] { released.wait(); });
  workers.Add(2, [&] { done.set_value(); });
  done.get_future().wait();
  EXPECT_EQ(workers.waiting(), 2u);
  release.set_value();
}

TEST(FairWorkers, NothingIsSavedUpWhileIdle) {
  std::vector<FairWorkers::Owner> alone, both;
  std::promise<void> last;
  FairWorkers workers({.name = "test"});
  const auto run = [&](FairWorkers::Owner owner, int pieces, std::vector<FairWorkers::Owner>& order) {
    for (int i = 0; i < pieces; ++i) {
      workers.Add(owner, [&, owner] {
        Spend(std::chrono::milliseconds(2));
        order.push_back(owner);
      });
    }
  };
  run(1, 50, alone);
  while (workers.waiting() > 0) Spend(std::chrono::milliseconds(1));
  run(1, 20, both);
  run(2, 20, both);  // has had 100 ms less so far, but does not get that time now
  while (workers.waiting() > 0) Spend(std::chrono::milliseconds(1));
  workers.Add(3, [&] { last.set_value(); });
  last.get_future().wait();
  const auto early = std::count(both.begin(), both.begin() + 20, 1);
  EXPECT_GT(early, 5);
  EXPECT_LT(early, 15);
}

TEST(FairWorkers, WorkThatWaitsAtTheEndIsDropped) {
  std::atomic<int> ran = 0;
  auto alive = std::make_shared<int>(0);
  {
    FairWorkers workers({.name = "test"});
    for (int i = 0; i < 100; ++i) {
      workers.Add(1, [&ran, alive] {
        Spend(std::chrono::milliseconds(5));
        ++ran;
      });
    }
  }
  EXPECT_LT(ran, 100);
  EXPECT_EQ(alive.use_count(), 1);
}

}  // namespace
}  // namespace penstock
