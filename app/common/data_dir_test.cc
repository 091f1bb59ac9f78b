#include "app/common/data_dir.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "app/launch/listen.h"

namespace penstock {
namespace {

class DataDirTest : public testing::Test {
 protected:
  DataDirTest() {
    char folder[] = "/tmp/penstock-data-XXXXXX";
    folder_ = mkdtemp(folder);
  }
  ~DataDirTest() override { std::filesystem::remove_all(folder_); }
  static unsigned ModeOf(const std::string& path) {
    struct stat info{};
    stat(path.c_str(), &info);
    return info.st_mode & 0777U;
  }
  std::string folder_;
};

TEST_F(DataDirTest, OnlyItsOwnerMayUseANewOne) {
  const auto data = DataDir::Open(folder_ + "/a/b");
  ASSERT_TRUE(data.has_value()) << data.error().message;
  EXPECT_EQ(ModeOf(folder_ + "/a/b"), 0700U);
}

TEST_F(DataDirTest, OnlyOneCloudRunsOnItAndASecondIsToldWhich) {
  const auto data = DataDir::Open(folder_);
  {
    const auto lock = data->Lock();
    ASSERT_TRUE(lock.has_value());
    EXPECT_EQ(data->LockedBy(), getpid());
    const auto second = data->Lock();
    ASSERT_FALSE(second.has_value());
    EXPECT_EQ(second.error().code, Code::kConflict);
    EXPECT_TRUE(second.error().message.contains(std::to_string(getpid()))) << second.error().message;
  }
  EXPECT_EQ(data->LockedBy(), 0);
  EXPECT_TRUE(data->Lock().has_value());
}

TEST_F(DataDirTest, ALockFileOfADeadProcessDoesNotLock) {
  std::ofstream(folder_ + "/lock") << "1\n";
  EXPECT_TRUE(DataDir::Open(folder_)->Lock().has_value());
}

TEST_F(DataDirTest, ADirectoryWithALongPathHasItsOwnSocket) {
  const auto near = DataDir::Open(folder_), far = DataDir::Open(folder_ + "/" + std::string(120, 'x'));
  EXPECT_EQ(near->EngineSocket().value(), folder_ + "/engine.sock");
  const auto socket = far->EngineSocket();
  ASSERT_TRUE(socket.has_value()) << socket.error().message;
  EXPECT_LE(socket->size(), 100U);
  std::filesystem::remove_all(std::filesystem::path(*socket).parent_path());
}

TEST_F(DataDirTest, ASecretIsNeverReadableByOthers) {
  const std::string path = folder_ + "/key";
  std::ofstream(path) << "old";
  ASSERT_EQ(chmod(path.c_str(), 0644), 0);
  ASSERT_TRUE(WriteSecretFile(path, "sk-new\n").has_value());
  EXPECT_EQ(ModeOf(path), 0600U);
  EXPECT_EQ(ReadTextFile(path).value(), "sk-new");
}

TEST_F(DataDirTest, FilesThatRootCreatesInAServicesDirectoryAreGivenToTheServicesUser) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can work in another user's directory";
  const auto data = DataDir::Open(folder_);
  ASSERT_TRUE(data.has_value());
  EXPECT_FALSE(data->BelongsToAnother());
  EXPECT_TRUE(data->RequireOwner().has_value());
  const uid_t service = 65534;
  ASSERT_EQ(chown(folder_.c_str(), service, service), 0);
  std::filesystem::create_directories(data->Models() + "/m");
  std::ofstream(data->Models() + "/m/model.gguf") << "weights";
  EXPECT_TRUE(data->BelongsToAnother());
  data->GiveToOwner();
  for (const auto* path : {"", "/m", "/m/model.gguf"}) {
    struct stat info{};
    stat((data->Models() + path).c_str(), &info);
    EXPECT_EQ(info.st_uid, service) << path;
  }
  const auto refused = data->RequireOwner();
  ASSERT_FALSE(refused.has_value());
  EXPECT_TRUE(refused.error().message.contains("runuser -u")) << refused.error().message;
}

TEST_F(DataDirTest, AnImpossibleDirectoryIsNamedWithWhatToDo) {
  std::ofstream(folder_ + "/file") << "";
  const auto data = DataDir::Open(folder_ + "/file/under");
  ASSERT_FALSE(data.has_value());
  EXPECT_TRUE(data.error().message.contains("--data")) << data.error().message;
}

TEST(Listening, APortInUseIsReportedWithItsOwnerAndAnotherPort) {
  auto first = Listen("127.0.0.1:0");
  ASSERT_TRUE(first.has_value()) << first.error().message;
  sockaddr_in address{};
  socklen_t size = sizeof address;
  getsockname(first->get(), reinterpret_cast<sockaddr*>(&address), &size);
  const auto second = Listen(fmt::format("127.0.0.1:{}", ntohs(address.sin_port)));
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code, Code::kConflict);
  EXPECT_TRUE(second.error().message.contains(fmt::format("process {}", getpid()))) << second.error().message;
  EXPECT_TRUE(second.error().message.contains("--listen")) << second.error().message;
}

TEST(Listening, AnAddressOfAnotherMachineIsNamed) {
  EXPECT_TRUE(Listen("192.0.2.1:8700").error().message.contains("192.0.2.1"));
  EXPECT_EQ(Listen("no-such-host.invalid:8700").error().code, Code::kInvalid);
}

}  // namespace
}  // namespace penstock
