#include "chip/cpu.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <filesystem>
#include <fstream>

#include "chip/bandwidth.h"

namespace penstock::chip {
namespace {

// A simulated /proc and /sys/fs/cgroup.
class MemoryTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = std::filesystem::path(::testing::TempDir()) /
            (std::string("penstock_") + ::testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(root_);
    Write("proc/meminfo", "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    600 kB\n");
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  MemoryInfo Query() const { return QueryMemory(root_ / "proc", root_ / "cgroup"); }

  std::filesystem::path root_;
};

TEST_F(MemoryTest, WithoutACgroupItIsTheMachines) {
  EXPECT_EQ(Query().total, 1000 * 1024);
  EXPECT_EQ(Query().available, 600 * 1024);
}

TEST_F(MemoryTest, IsLimitedToTheTightestGroupOfVersion2) {
  Write("proc/self/cgroup", "0::/a/b\n");
  Write("cgroup/a/memory.max", "409600\n");
  Write("cgroup/a/memory.current", "102400\n");
  Write("cgroup/a/b/memory.max", "max\n");
  EXPECT_EQ(Query().total, 409600);
  EXPECT_EQ(Query().available, 307200);
}

TEST_F(MemoryTest, CountsFilePagesThatTheKernelWouldDropAsAvailable) {
  Write("proc/self/cgroup", "0::/\n");
  Write("cgroup/memory.max", "409600\n");
  Write("cgroup/memory.current", "402600\n");
  Write("cgroup/memory.stat", "anon 100\ninactive_file 200000\n");
  EXPECT_EQ(Query().available, 409600 - 402600 + 200000);
}

TEST_F(MemoryTest, IsLimitedToTheLimitOfVersion1) {
  Write("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/job\n");
  Write("cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");  // no limit
  Write("cgroup/memory/job/memory.limit_in_bytes", "204800\n");
  Write("cgroup/memory/job/memory.usage_in_bytes", "4800\n");
  EXPECT_EQ(Query().total, 204800);
  EXPECT_EQ(Query().available, 200000);
}

TEST_F(MemoryTest, FallsBackToTheMountIfTheGroupsOwnFolderIsNotVisible) {
  Write("proc/self/cgroup", "0::/docker/0123\n");
  Write("cgroup/memory.max", "204800\n");
  EXPECT_EQ(Query().total, 204800);
}

TEST(Cpu, IsDescribed) {
  EXPECT_FALSE(CpuModel().empty());
  EXPECT_GT(QueryMemory().total, 0);
  EXPECT_GT(QueryMemory().available, 0);
}

TEST(Cpu, UsableCpusAreThoseOfTheAffinityMask) {
  cpu_set_t before;
  ASSERT_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
  cpu_set_t one;
  CPU_ZERO(&one);
  int first = 0;
  while (!CPU_ISSET(first, &before)) ++first;
  CPU_SET(first, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
  EXPECT_EQ(UsableCpus(), std::vector<int>{first});
  sched_setaffinity(0, sizeof(before), &before);
}

TEST(Limits, AreMeasured) {
  ThreadPool pool;
  EXPECT_GT(MeasureReadBandwidth(pool), 1e8);
  const CpuFeatures features = DetectCpuFeatures();
  const ComputePeak peak = MeasureComputePeak(pool);
  EXPECT_EQ(peak.int8_ops > 0, features.avx2);
  EXPECT_EQ(peak.f32_flops > 0, features.avx2);
}

}  // namespace
}  // namespace penstock::chip
