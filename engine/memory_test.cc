#include "engine/memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <vector>

namespace penstock {
namespace {

constexpr int64_t kMiB = 1 << 20, kGiB = int64_t{1} << 30;

// A file of so many bytes that takes no room.
class Weights {
 public:
  explicit Weights(int64_t bytes)
      : path_(fmt::format("{}/penstock-weights-{}-{}", ::testing::TempDir(), getpid(), bytes)) {
    std::ofstream(path_).put('x');
    std::filesystem::resize_file(path_, static_cast<uintmax_t>(bytes));
  }
  ~Weights() { std::filesystem::remove(path_); }
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

TEST(Memory, OnDemandModelsShareWhatTheWeightsLeave) {
  const Weights tiny(400 << 10);
  std::vector<KvUse> loaded;
  for (int i = 0; i < 200; ++i) {
    const auto plan = PlanKv({.path = tiny.path(), .memory = kGiB, .on_demand = true}, loaded);
    ASSERT_TRUE(plan) << i << ": " << plan.error().message;
    // Its longest text takes less than half a megabyte.
    loaded.push_back({.weights = 400 << 10, .most = 16 * kMiB, .longest = 512 << 10});
  }
  EXPECT_EQ(KvBudget(kGiB, loaded), kGiB - 200 * (int64_t{400} << 10));
}

TEST(Memory, AModelThatTakesItsPagesAtLoadLeavesThatMuchLess) {
  const Weights weights(100 * kMiB);
  const KvRequest request{.path = weights.path(), .memory = kGiB};
  const auto first = PlanKv(request, {});
  ASSERT_TRUE(first);
  EXPECT_EQ(first->most, (kGiB - 100 * kMiB) / 2);
  EXPECT_EQ(first->use.fixed, first->most);
  const std::vector loaded{first->use};
  const auto second = PlanKv(request, loaded);
  ASSERT_TRUE(second);
  EXPECT_EQ(second->most, (kGiB - 100 * kMiB - (100 * kMiB + first->most)) / 2);
}

TEST(Memory, NoLoadTakesTheMemoryOfALongestSequenceThatWasPromised) {
  const Weights weights(300 * kMiB);
  const std::vector<KvUse> loaded{{.weights = 300 * kMiB, .most = 512 * kMiB, .longest = 512 * kMiB}};
  const KvRequest request{.path = weights.path(), .memory = kGiB, .on_demand = true};
  const auto refused = PlanKv(request, loaded);
  ASSERT_FALSE(refused) << "424 MB would be left";
  EXPECT_EQ(refused.error().reason, Reason::kEngineMemory);
  EXPECT_THAT(refused.error().message,
              ::testing::AllOf(::testing::HasSubstr("300 MB of weights and 512 MB of KV"),
                               ::testing::HasSubstr("724 MB"), ::testing::HasSubstr("unload another")));
  EXPECT_TRUE(PlanKv({.path = weights.path(), .memory = 2 * kGiB, .on_demand = true}, loaded));
}

TEST(Memory, WhatIsAskedForIsGivenOrRefused) {
  const Weights weights(300 * kMiB);
  EXPECT_EQ(PlanKv({.path = weights.path(), .requested = 700 * kMiB, .memory = kGiB}, {})->most, 700 * kMiB);
  EXPECT_FALSE(PlanKv({.path = weights.path(), .requested = 800 * kMiB, .memory = kGiB}, {}));
}

TEST(Memory, TheBudgetHasRoomForTheLongestSequenceWhateverWeightsTurnOutToTake) {
  const std::vector<KvUse> loaded{{.weights = 900 * kMiB, .most = 400 * kMiB, .longest = 200 * kMiB}};
  EXPECT_EQ(KvBudget(kGiB, loaded), 200 * kMiB);
}

}  // namespace
}  // namespace penstock
