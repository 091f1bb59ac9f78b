#include "attach/launched.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

namespace penstock {
namespace {

class LaunchedTest : public ::testing::Test {
 protected:
  bool Eventually(const std::function<bool()>& holds) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!holds()) {
      if (std::chrono::steady_clock::now() > until) return false;
      io.run_one_for(std::chrono::milliseconds(20));
    }
    return true;
  }
  std::string Read() const {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  const std::string path =
      (std::filesystem::temp_directory_path() / ("launched" + std::to_string(getpid()))).string();
  boost::asio::io_context io;
};

TEST_F(LaunchedTest, TheTemplateSaysWhereThePortGoes) {
  EXPECT_EQ(*FillPort("serve --port {port} --peer {port}", 81), "serve --port 81 --peer 81");
  const auto without = FillPort("serve", 81);
  ASSERT_FALSE(without);
  EXPECT_NE(without.error().message.find("{port}"), std::string::npos) << without.error().message;
  EXPECT_GT(FreePort().value_or(0), 0);
}

TEST_F(LaunchedTest, WhatEndsIsStartedAgain) {
  Launched launched(io, "sh -c 'echo once >> " + path + "'", 1);
  ASSERT_TRUE(Eventually([&] { return launched.starts() >= 2 && Read() == "once\nonce\n"; })) << Read();
  std::filesystem::remove(path);
}

TEST_F(LaunchedTest, ItEndsWithUsAndSoDoesWhatItStarted) {
  pid_t pid = 0;
  {
    Launched launched(io, "sh -c 'sleep 600 & echo $! > " + path + "; wait'", 1);
    ASSERT_TRUE(Eventually([&] { return !Read().empty(); }));
    pid = launched.pid();
  }
  EXPECT_NE(kill(pid, 0), 0);
  const pid_t grandchild = std::stoi(Read());
  EXPECT_TRUE(Eventually([&] {
    if (kill(grandchild, 0) != 0) return true;
    std::ifstream stat("/proc/" + std::to_string(grandchild) + "/stat");  // not yet reaped
    const std::string text{std::istreambuf_iterator<char>(stat), {}};
    return text.find(") Z ") != std::string::npos;
  }));
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace penstock
