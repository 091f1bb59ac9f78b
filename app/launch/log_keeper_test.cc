#include "app/launch/log_keeper.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "app/common/data_dir.h"

namespace penstock {
namespace {

namespace fs = std::filesystem;

std::string Text(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

struct LogKeeperTest : testing::Test {
  LogKeeperTest() { fs::create_directories(folder); }
  ~LogKeeperTest() override { fs::remove_all(folder); }
  Fd Open() const { return Fd(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640)); }
  const std::string folder = testing::TempDir() + "/log_keeper_" + std::to_string(getpid());
  const std::string path = folder + "/engine.log";
};

TEST_F(LogKeeperTest, AShortLogIsLeftAlone) {
  const Fd log = Open();
  ASSERT_EQ(write(log.get(), "one\n", 4), 4);
  EXPECT_FALSE(RotateLog(path, log.get(), 4));
  EXPECT_FALSE(fs::exists(path + ".1"));
}

TEST_F(LogKeeperTest, NoLineIsLostDuringRotation) {
  const Fd log = Open();
  constexpr int kLines = 50'000;
  std::atomic<bool> done = false;
  std::thread writer([&] {
    for (int i = 0; i < kLines; ++i) {
      const std::string line = std::to_string(i) + "\n";
      if (write(log.get(), line.data(), line.size()) < 0) break;
    }
    done = true;
  });
  int times = 0;
  while (!done) {
    if (RotateLog(path, log.get(), 20'000)) fs::rename(path + ".1", path + ".kept" + std::to_string(times++));
  }
  writer.join();
  // Read at the end, because a write that began before the rotation still goes to the old file.
  std::string kept;
  for (int i = 0; i < times; ++i) kept += Text(path + ".kept" + std::to_string(i));
  kept += Text(path);
  std::string all;
  for (int i = 0; i < kLines; ++i) all += std::to_string(i) + "\n";
  EXPECT_TRUE(kept == all) << kept.size() << " of " << all.size() << " bytes";
  EXPECT_GT(times, 1);
}

TEST_F(LogKeeperTest, AFileThatIsNotTheLogIsNotTouched) {
  const Fd log = Open();
  ASSERT_EQ(write(log.get(), "one\n", 4), 4);
  const std::string other = folder + "/other.log";
  std::ofstream(other) << "two\n";
  EXPECT_FALSE(RotateLog(other, log.get(), 0));
  EXPECT_EQ(Text(other), "two\n");
}

}  // namespace
}  // namespace penstock
