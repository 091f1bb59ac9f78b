#include "app/launch/supervisor.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "app/common/data_dir.h"
#include "app/machine/cpu_group.h"

namespace penstock {
namespace {

TEST(SupervisorBackoff, DoublesFrom50MillisecondsTo5Seconds) {
  Backoff backoff;
  Nanos last = 0;
  for (const Nanos want : {50, 100, 200, 400, 800, 1600, 3200, 5000, 5000}) {
    last = backoff.AfterDeath(0);
    EXPECT_EQ(last, want * kMillisecond);
  }
}

TEST(SupervisorBackoff, AHealthyTimeResetsIt) {
  Backoff backoff;
  for (int i = 0; i < 10; ++i) backoff.AfterDeath(0);
  EXPECT_EQ(backoff.AfterDeath(10 * kSecond), 50 * kMillisecond);
}

TEST(SupervisorBackoff, AChildThatDiesOccasionallyIsBackSoon) {
  Backoff backoff;
  for (int i = 0; i < 50; ++i) EXPECT_LE(backoff.AfterDeath(3 * kSecond), 100 * kMillisecond);
}

TEST(SupervisorExit, IsDescribedInWords) {
  EXPECT_EQ(DescribeExit(W_EXITCODE(3, 0), false), "exit status 3");
  EXPECT_EQ(DescribeExit(W_EXITCODE(0, SIGSEGV), false), "killed by SIGSEGV");
  EXPECT_TRUE(DescribeExit(W_EXITCODE(0, SIGKILL), true).contains("out of memory"));
}

TEST(SupervisorProgram, IsAFileThatAnUpgradeMayReplace) {
  EXPECT_TRUE(ProgramPath().starts_with('/'));
  EXPECT_NE(ProgramPath(), "/proc/self/exe");
}

// The children run this test binary in the modes of main_test.cc. The supervisor needs its own process.
class SupervisorTest : public testing::Test {
 protected:
  SupervisorTest() {
    char folder[] = "/tmp/penstock-supervisor-XXXXXX";
    folder_ = mkdtemp(folder);
  }
  ~SupervisorTest() override {
    if (supervisor_ > 0) {
      kill(supervisor_, SIGKILL);
      waitpid(supervisor_, nullptr, 0);
    }
    std::filesystem::remove_all(folder_);
  }

  ChildSpec Child(const std::string& name, const std::string& mode) const {
    ChildSpec child{.name = name, .args = {"--child", mode, folder_ + "/" + name}};
    child.log = folder_ + "/" + name + ".log";
    return child;
  }
  void Start(const std::vector<ChildSpec>& children) {
    supervisor_ = fork();
    if (supervisor_ != 0) return;
    dup2(open((folder_ + "/supervisor.log").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600), STDERR_FILENO);
    const auto status = Supervise(children);
    _exit(status.has_value() ? *status : 99);
  }
  int Wait() {
    int status = 0;
    waitpid(supervisor_, &status, 0);
    supervisor_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  // The pids that a child wrote, one for each time that it started.
  std::vector<pid_t> Lives(const std::string& name) const {
    std::ifstream file(folder_ + "/" + name);
    std::vector<pid_t> pids;
    for (pid_t pid = 0; file >> pid;) pids.push_back(pid);
    return pids;
  }
  std::string Said() const {
    std::ifstream file(folder_ + "/supervisor.log");
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static bool Eventually(const std::function<bool()>& holds) {
    for (int i = 0; i < 3000; ++i, usleep(10'000)) {
      if (holds()) return true;
    }
    return false;
  }
  static int AllowedCore() {
    cpu_set_t set;
    sched_getaffinity(0, sizeof set, &set);
    int core = CPU_SETSIZE - 1;
    while (core > 0 && !CPU_ISSET(static_cast<size_t>(core), &set)) --core;
    return core;
  }
  static bool Alive(pid_t pid) { return kill(pid, 0) == 0; }

  std::string folder_;
  pid_t supervisor_ = 0;
};

TEST_F(SupervisorTest, AKilledChildIsRestartedAndTheOtherIsLeftAlone) {
  Start({Child("gateway", "wait"), Child("engine", "wait")});
  ASSERT_TRUE(Eventually([&] { return Lives("gateway").size() == 1 && Lives("engine").size() == 1; }));
  kill(Lives("engine")[0], SIGKILL);
  ASSERT_TRUE(Eventually([&] { return Lives("engine").size() == 2; }));
  EXPECT_EQ(Lives("gateway").size(), 1U);
  EXPECT_TRUE(Said().contains("engine ended: killed by SIGKILL")) << Said();
}

TEST_F(SupervisorTest, AHangUpRestartsTheChildrenInTurnTheFirstLast) {
  std::vector<ChildSpec> children = {Child("gateway", "wait"), Child("left", "wait"), Child("right", "wait")};
  for (auto& child : children) child.await = {"--await", folder_ + "/" + child.name};
  Start(children);
  const auto lives = [&](size_t each) {
    return Lives("gateway").size() == each && Lives("left").size() == each && Lives("right").size() == each;
  };
  ASSERT_TRUE(Eventually([&] { return lives(1); }));
  kill(supervisor_, SIGHUP);
  ASSERT_TRUE(Eventually([&] { return Said().contains("all processes were restarted"); })) << Said();
  EXPECT_TRUE(lives(2));
  const std::string said = Said();
  const auto at = [&](const char* words) { return said.find(words); };
  EXPECT_LT(at("left is back"), at("restarting right"));
  EXPECT_LT(at("right is back"), at("restarting gateway"));
  EXPECT_FALSE(said.contains("ended")) << said;
}

TEST_F(SupervisorTest, AChildThatDoesNotBecomeReadyEndsTheRestart) {
  std::vector<ChildSpec> children = {Child("gateway", "wait"), Child("left", "wait"), Child("right", "wait")};
  children[1].await = {"--await", "never"};
  Start(children);
  ASSERT_TRUE(Eventually([&] {
    return Lives("gateway").size() == 1 && Lives("left").size() == 1 && Lives("right").size() == 1;
  }));
  kill(supervisor_, SIGHUP);
  ASSERT_TRUE(Eventually([&] {
    return Said().contains("the restart stops here, 2 others are not restarted");
  })) << Said();
  EXPECT_TRUE(Eventually([&] { return Lives("left").size() == 2; }));  // it may be just starting
  EXPECT_EQ(Lives("right").size(), 1U);
  EXPECT_EQ(Lives("gateway").size(), 1U);
}

TEST_F(SupervisorTest, ANewBinaryThatRefusesToStartDoesNotEndTheOthers) {
  std::vector<ChildSpec> children = {Child("gateway", "wait"), Child("engine", "once")};
  children[1].await = {"--await", folder_ + "/nowhere"};
  Start(children);
  ASSERT_TRUE(Eventually([&] { return Lives("gateway").size() == 1 && Lives("engine").size() == 1; }));
  kill(supervisor_, SIGHUP);
  ASSERT_TRUE(Eventually([&] { return Said().contains("the restart stops here"); })) << Said();
  ASSERT_TRUE(Eventually([&] { return Lives("engine").size() >= 4; }));
  EXPECT_EQ(Lives("gateway").size(), 1U);
  EXPECT_TRUE(Alive(Lives("gateway")[0]));
}

TEST_F(SupervisorTest, AStopDuringARestartStops) {
  std::vector<ChildSpec> children = {Child("gateway", "wait"), Child("engine", "wait")};
  children[1].await = {"--await", folder_ + "/nowhere"};
  Start(children);
  ASSERT_TRUE(Eventually([&] { return Lives("gateway").size() == 1 && Lives("engine").size() == 1; }));
  kill(supervisor_, SIGHUP);
  ASSERT_TRUE(Eventually([&] { return Lives("engine").size() == 2; }));
  kill(supervisor_, SIGTERM);
  EXPECT_EQ(Wait(), 0);
}

TEST_F(SupervisorTest, AChildRunsOnlyOnItsCores) {
  ChildSpec child = Child("engine", "cores");
  child.cores = {AllowedCore()};
  Start({Child("gateway", "wait"), child});
  ASSERT_TRUE(Eventually([&] { return std::filesystem::exists(folder_ + "/engine.cores"); }));
  std::ifstream file(folder_ + "/engine.cores");
  int count = 0, core = -1;
  file >> count >> core;
  EXPECT_EQ(count, 1);
  EXPECT_EQ(core, AllowedCore());
}

TEST_F(SupervisorTest, AChildWithAGroupRunsInIt) {
  CpuGroups groups;
  const auto group = groups.Make("supervised", 0.5);
  if (!group.has_value()) GTEST_SKIP() << group.error().message;
  ChildSpec child = Child("engine", "wait");
  child.group = *group;
  Start({Child("gateway", "wait"), child});
  ASSERT_TRUE(Eventually([&] { return Lives("gateway").size() == 1 && Lives("engine").size() == 1; }));
  const auto members = [&] {
    std::ifstream file(*group);
    return std::string{std::istreambuf_iterator<char>(file), {}};
  };
  EXPECT_EQ(members(), fmt::format("{}\n", Lives("engine")[0]));
  kill(supervisor_, SIGTERM);
  EXPECT_EQ(Wait(), 0);
  EXPECT_EQ(members(), "");
}

TEST_F(SupervisorTest, AChildIsBoundToItsNodesMemory) {
  if (syscall(SYS_get_mempolicy, nullptr, nullptr, 0UL, nullptr, 0UL) != 0) {
    GTEST_SKIP() << "this system does not allow a process to choose a node";
  }
  ChildSpec child = Child("engine", "memory");
  child.numa = 0;
  Start({Child("gateway", "wait"), child});
  ASSERT_TRUE(Eventually([&] { return std::filesystem::exists(folder_ + "/engine.memory"); }));
  std::ifstream file(folder_ + "/engine.memory");
  int mode = -1;
  unsigned long nodes = 0;
  file >> mode >> nodes;
  EXPECT_EQ(mode, MPOL_BIND);
  EXPECT_EQ(nodes, 1U);
}

TEST_F(SupervisorTest, ATermEndsTheGatewayBeforeTheEngine) {
  Start({Child("gateway", "wait"), Child("engine", "wait")});
  ASSERT_TRUE(Eventually([&] { return Lives("gateway").size() == 1 && Lives("engine").size() == 1; }));
  kill(supervisor_, SIGTERM);
  EXPECT_EQ(Wait(), 0);
  const auto ended = [&](const char* name) {
    return std::filesystem::last_write_time(folder_ + "/" + name + ".ended");
  };
  EXPECT_LT(ended("gateway"), ended("engine"));
}

TEST_F(SupervisorTest, ASecondSignalKills) {
  Start({Child("gateway", "stubborn")});
  ASSERT_TRUE(Eventually([&] { return Lives("gateway").size() == 1; }));
  kill(supervisor_, SIGINT);
  ASSERT_TRUE(Eventually([&] { return Said().contains("stopping"); }));
  kill(supervisor_, SIGINT);
  EXPECT_EQ(Wait(), 0);
  EXPECT_FALSE(Alive(Lives("gateway")[0]));
}

TEST_F(SupervisorTest, AChildThatDoesNotStopInTimeIsKilled) {
  ChildSpec child = Child("gateway", "stubborn");
  child.stop_within = 50 * kMillisecond;
  Start({child});
  ASSERT_TRUE(Eventually([&] { return Lives("gateway").size() == 1; }));
  kill(supervisor_, SIGTERM);
  EXPECT_EQ(Wait(), 0);
}

TEST_F(SupervisorTest, ChildrenDieWithASupervisorThatIsKilled) {
  Start({Child("gateway", "stubborn"), Child("engine", "wait")});
  ASSERT_TRUE(Eventually([&] { return Lives("gateway").size() == 1 && Lives("engine").size() == 1; }));
  kill(supervisor_, SIGKILL);
  Wait();
  EXPECT_TRUE(Eventually([&] { return !Alive(Lives("gateway")[0]) && !Alive(Lives("engine")[0]); }));
}

TEST_F(SupervisorTest, AChildThatARestartCannotHelpEndsEverythingWithItsMessage) {
  Start({Child("gateway", "useless"), Child("engine", "wait")});
  EXPECT_EQ(Wait(), 1);
  EXPECT_TRUE(Said().contains("the store is damaged")) << Said();
}

}  // namespace
}  // namespace penstock
