#include "gateway/observe/watchdog.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/post.hpp>

namespace penstock::gateway {
namespace {

constexpr Nanos kLimit = 400 * kMillisecond, kPeriod = 20 * kMillisecond;

// An io thread that beats for a while and then does `work`, under a watchdog.
void RunThen(const std::function<void()>& work, Nanos until_work = 100 * kMillisecond) {
  spdlog::set_default_logger(
      std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::stderr_sink_st>()));
  boost::asio::io_context io(1);
  Watchdog watchdog(io, kLimit, kPeriod);
  boost::asio::steady_timer timer(io, std::chrono::nanoseconds(until_work));
  timer.async_wait([&](const boost::system::error_code&) {
    work();
    io.stop();
  });
  io.run();
}

void Spin(Nanos time) {
  const Nanos end = SystemClock().Monotonic() + time;
  while (SystemClock().Monotonic() < end) {
  }
}

TEST(WatchdogDeathTest, EndsAProcessWhoseIoThreadComputesAndSaysWhy) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(RunThen([] {
                Watchdog::Doing("POST /v1/chat/completions");
                Spin(30 * kSecond);
              }),
              ::testing::ExitedWithCode(Watchdog::kExitStatus),
              "no progress for 0.4 s: it was busy with POST /v1/chat/completions .* and it computes; the "
              "gateway ends");
}

TEST(WatchdogDeathTest, EndsAProcessWhoseIoThreadWaits) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(RunThen([] { ::sleep(30); }), ::testing::ExitedWithCode(Watchdog::kExitStatus),
              "and it waits; the gateway ends");
}

TEST(Watchdog, LeavesAnIoThreadThatWorksAlone) {
  RunThen([] { Spin(kLimit / 4); }, 2 * kLimit);
}

// As when the machine is suspended: nobody looks meanwhile.
TEST(Watchdog, LeavesAProcessThatWasStoppedAlone) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    RunThen([] {}, 500 * kMillisecond);
    std::_Exit(0);
  }
  ::usleep(100'000);
  ::kill(child, SIGSTOP);
  ::usleep(static_cast<useconds_t>(3 * kLimit / kMicrosecond));
  ::kill(child, SIGCONT);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace penstock::gateway
