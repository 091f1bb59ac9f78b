#include "app/machine/cpu_group.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/clock.h"

namespace penstock {
namespace {
namespace fs = std::filesystem;

// A simulated /proc and /sys/fs/cgroup.
class CpuGroupsTest : public testing::Test {
 protected:
  CpuGroupsTest() {
    char folder[] = "/tmp/penstock-groups-XXXXXX";
    root_ = mkdtemp(folder);
  }
  ~CpuGroupsTest() override { fs::remove_all(root_); }
  void Put(const std::string& path, const std::string& text) const {
    fs::create_directories((root_ + "/" + path).substr(0, (root_ + "/" + path).rfind('/')));
    std::ofstream(root_ + "/" + path) << text;
  }
  std::string root_;
};

TEST_F(CpuGroupsTest, WithoutControlGroupsTheReasonIsReported) {
  Put("proc/self/cgroup", "");
  CpuGroups groups(root_ + "/proc", root_ + "/cgroup");
  const auto made = groups.Make("a", 0.5);
  ASSERT_FALSE(made.has_value());
  EXPECT_TRUE(made.error().message.contains("no control groups are mounted")) << made.error().message;
}

TEST_F(CpuGroupsTest, AGroupOfVersion2WithoutTheControllerIsReported) {
  Put("proc/self/cgroup", "0::/user.slice\n");
  Put("cgroup/user.slice/cgroup.controllers", "memory pids\n");
  CpuGroups groups(root_ + "/proc", root_ + "/cgroup");
  const auto made = groups.Make("a", 0.5);
  ASSERT_FALSE(made.has_value());
  EXPECT_TRUE(made.error().message.contains("does not have the cpu controller")) << made.error().message;
}

TEST_F(CpuGroupsTest, GroupsOfAKilledProcessAreRemovedAndThoseOfALivingOneAreNot) {
  const pid_t gone = fork();
  if (gone == 0) _exit(0);
  waitpid(gone, nullptr, 0);
  Put("proc/self/cgroup", "3:cpu,cpuacct:/\n");
  const std::string mount = root_ + "/cgroup/cpu/";
  fs::create_directories(mount + fmt::format("penstock-{}-a", gone));
  fs::create_directories(mount + fmt::format("penstock-{}-b", getppid()));
  CpuGroups groups(root_ + "/proc", root_ + "/cgroup");
  (void)groups.Make("a", 0.5);  // fails, because only the kernel creates the files of a group
  EXPECT_FALSE(fs::exists(mount + fmt::format("penstock-{}-a", gone)));
  EXPECT_TRUE(fs::exists(mount + fmt::format("penstock-{}-b", getppid())));
}

// With real control groups, if this process may create them.
TEST(CpuGroupsHere, AProcessThatJoinsGetsNoMoreThanItsShareAndTheGroupIsRemoved) {
  std::string folder;
  {
    CpuGroups groups;
    const auto made = groups.Make("test", 0.2);
    if (!made.has_value()) GTEST_SKIP() << made.error().message;
    folder = made->substr(0, made->rfind('/'));
    const pid_t child = fork();
    if (child == 0) {
      std::ofstream(*made) << "0" << std::flush;
      const Nanos until = SystemClock().Monotonic() + kSecond;
      while (SystemClock().Monotonic() < until) {
      }
      timespec used{};
      clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
      _exit(used.tv_sec == 0 && used.tv_nsec < 500'000'000 ? 0 : 1);  // a fifth of a second, with a margin
    }
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_EQ(WEXITSTATUS(status), 0);
  }
  EXPECT_FALSE(fs::exists(folder));
}

}  // namespace
}  // namespace penstock
