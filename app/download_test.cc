#include "app/download.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/file.h>

#include <filesystem>
#include <fstream>

#include "app/sha256.h"
#include "app/test_server.h"

namespace penstock {
namespace {

std::string Noise(size_t size) {
  std::string bytes(size, '\0');
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>((i * 2654435761U) >> 13);
  return bytes;
}

class DownloadTest : public testing::Test {
 protected:
  DownloadTest() : body_(Noise(300'000)) {
    char folder[] = "/tmp/penstock-download-XXXXXX";
    folder_ = mkdtemp(folder);
    spec_.url = server_.Url("/m.gguf");
    spec_.sha256 = Sha256OfText(body_);
    spec_.folder = folder_;
    spec_.pause = kMillisecond;
    spec_.tries = 3;
  }
  ~DownloadTest() override { std::filesystem::remove_all(folder_); }

  Result<Downloaded> Get() { return Download(spec_, {}); }
  std::string PartPath() const { return folder_ + "/" + spec_.sha256 + ".part"; }
  void LeavePart(const std::string& bytes) const { std::ofstream(PartPath(), std::ios::binary) << bytes; }
  static std::string Content(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  TestServer server_;
  std::string body_, folder_;
  DownloadSpec spec_;
};

TEST_F(DownloadTest, TakesAWholeFile) {
  server_.Serve("/m.gguf", {.body = body_});
  const auto got = Get();
  ASSERT_TRUE(got.has_value()) << got.error().message;
  EXPECT_EQ(Content(got->path), body_);
}

TEST_F(DownloadTest, ACutConnectionIsResumedWhereItBroke) {
  server_.Serve("/m.gguf", {.body = body_, .cut_after = 100'000});
  const auto got = Get();
  ASSERT_TRUE(got.has_value()) << got.error().message;
  EXPECT_EQ(Content(got->path), body_);
  EXPECT_EQ(server_.Seen(), (std::vector<std::string>{"GET /m.gguf", "GET /m.gguf bytes=100000-",
                                                      "GET /m.gguf bytes=200000-"}));
}

TEST_F(DownloadTest, AnEarlierProcessesPartIsGoneOnWith) {
  server_.Serve("/m.gguf", {.body = body_});
  LeavePart(body_.substr(0, 250'000));
  const auto got = Get();
  ASSERT_TRUE(got.has_value()) << got.error().message;
  EXPECT_EQ(Content(got->path), body_);
  EXPECT_EQ(server_.Seen(), std::vector<std::string>{"GET /m.gguf bytes=250000-"});
}

TEST_F(DownloadTest, AWholePartNeedsNoServer) {
  LeavePart(body_);
  spec_.size = body_.size();
  const auto got = Get();
  ASSERT_TRUE(got.has_value()) << got.error().message;
  EXPECT_TRUE(server_.Seen().empty());
}

TEST_F(DownloadTest, ADamagedPartIsFetchedAnew) {
  server_.Serve("/m.gguf", {.body = body_});
  LeavePart(std::string(250'000, 'x'));
  const auto got = Get();
  ASSERT_TRUE(got.has_value()) << got.error().message;
  EXPECT_EQ(Content(got->path), body_);
}

TEST_F(DownloadTest, APartThatIsTooLongIsFetchedAnew) {
  server_.Serve("/m.gguf", {.body = body_});
  LeavePart(body_ + "tail");
  const auto got = Get();
  ASSERT_TRUE(got.has_value()) << got.error().message;
  EXPECT_EQ(Content(got->path), body_);
}

TEST_F(DownloadTest, AServerThatIgnoresRangesIsTakenFromTheStart) {
  server_.Serve("/m.gguf", {.body = body_, .ranges = false});
  LeavePart(body_.substr(0, 100'000));
  const auto got = Get();
  ASSERT_TRUE(got.has_value()) << got.error().message;
  EXPECT_EQ(Content(got->path), body_);
}

TEST_F(DownloadTest, AServerThatCutsAndIgnoresRangesIsGivenUp) {
  server_.Serve("/m.gguf", {.body = body_, .ranges = false, .cut_after = 100'000});
  const auto got = Get();
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().code, Code::kUnavailable);
}

TEST_F(DownloadTest, ARangeThatBeginsElsewhereIsRefused) {
  server_.Serve("/m.gguf", {.body = body_, .range_shift = 1});
  LeavePart(body_.substr(0, 100'000));
  const auto got = Get();
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().code, Code::kCorrupt);
  EXPECT_TRUE(got.error().message.contains("100001")) << got.error().message;
}

TEST_F(DownloadTest, WrongBytesAreNamedAndNotKept) {
  std::string wrong = body_;
  wrong[150'000] ^= 1;
  server_.Serve("/m.gguf", {.body = wrong});
  const auto got = Get();
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().code, Code::kCorrupt);
  EXPECT_TRUE(got.error().message.contains(spec_.sha256));
  EXPECT_FALSE(std::filesystem::exists(PartPath()));
}

TEST_F(DownloadTest, AnotherSizeThanPromisedIsRefusedBeforeItIsFetched) {
  spec_.size = body_.size();
  server_.Serve("/m.gguf", {.body = "<html>please log in</html>"});
  const auto got = Get();
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().code, Code::kCorrupt);
  EXPECT_TRUE(got.error().message.contains("300000")) << got.error().message;
}

TEST_F(DownloadTest, MoreBytesThanPromisedAreNotTaken) {
  spec_.size = 1000;
  server_.Serve("/m.gguf", {.body = body_, .no_length = true});
  const auto got = Get();
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().code, Code::kCorrupt);
  EXPECT_LE(std::filesystem::file_size(PartPath()), 1000U);
}

TEST_F(DownloadTest, AnAnswerWithoutLengthEndsWhereItEnds) {
  server_.Serve("/m.gguf", {.body = body_, .no_length = true});
  const auto got = Get();
  ASSERT_TRUE(got.has_value()) << got.error().message;
  EXPECT_EQ(got->size, body_.size());
}

TEST_F(DownloadTest, AMissingFileAClosedDoorAndASickServerAreToldApart) {
  EXPECT_EQ(Get().error().code, Code::kNotFound);
  server_.Serve("/m.gguf", {.status = 403});
  EXPECT_EQ(Get().error().code, Code::kForbidden);
  server_.Serve("/m.gguf", {.status = 502});
  EXPECT_EQ(Get().error().code, Code::kUnavailable);
}

TEST_F(DownloadTest, NobodyThereIsSaid) {
  spec_.url = "http://127.0.0.1:1/m.gguf";
  const auto got = Get();
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().code, Code::kUnavailable);
  EXPECT_TRUE(got.error().message.contains("127.0.0.1:1")) << got.error().message;
}

TEST_F(DownloadTest, ASilentServerIsGivenUp) {
  server_.Serve("/m.gguf", {.silent = true});
  spec_.stall_timeout = kSecond;
  spec_.tries = 1;
  const auto got = Get();
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().code, Code::kUnavailable);
}

TEST_F(DownloadTest, AnotherProcessAtTheSameFileIsNotDisturbed) {
  const Fd other(open(PartPath().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  ASSERT_EQ(flock(other.get(), LOCK_EX | LOCK_NB), 0);
  EXPECT_EQ(Get().error().code, Code::kConflict);
}

TEST_F(DownloadTest, ADiskTooSmallIsSaidBeforehand) {
  spec_.size = 1ULL << 60;
  const auto got = Get();
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().code, Code::kIo);
  EXPECT_TRUE(got.error().message.contains("--data")) << got.error().message;
}

}  // namespace
}  // namespace penstock
