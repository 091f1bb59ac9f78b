#include "app/common/download.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/file.h>

#include <filesystem>
#include <fstream>

#include "app/common/http.h"
#include "app/common/sha256.h"
#include "app/common/test_server.h"

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

TEST_F(DownloadTest, DownloadsAWholeFile) {
  server_.Serve("/m.gguf", {.body = body_});
  const auto got = Get();
  ASSERT_TRUE(got.has_value()) << got.error().message;
  EXPECT_EQ(Content(got->path), body_);
}

TEST_F(DownloadTest, AnInterruptedDownloadIsResumedWhereItStopped) {
  server_.Serve("/m.gguf", {.body = body_, .cut_after = 100'000});
  const auto got = Get();
  ASSERT_TRUE(got.has_value()) << got.error().message;
  EXPECT_EQ(Content(got->path), body_);
  EXPECT_EQ(server_.Seen(), (std::vector<std::string>{"GET /m.gguf", "GET /m.gguf bytes=100000-",
                                                      "GET /m.gguf bytes=200000-"}));
}

TEST_F(DownloadTest, APartOfAnEarlierProcessIsResumed) {
  server_.Serve("/m.gguf", {.body = body_});
  LeavePart(body_.substr(0, 250'000));
  const auto got = Get();
  ASSERT_TRUE(got.has_value()) << got.error().message;
  EXPECT_EQ(Content(got->path), body_);
  EXPECT_EQ(server_.Seen(), std::vector<std::string>{"GET /m.gguf bytes=250000-"});
}

TEST_F(DownloadTest, ACompletePartNeedsNoServer) {
  LeavePart(body_);
  spec_.size = body_.size();
  const auto got = Get();
  ASSERT_TRUE(got.has_value()) << got.error().message;
  EXPECT_TRUE(server_.Seen().empty());
}

TEST_F(DownloadTest, ADamagedPartIsDownloadedAgain) {
  server_.Serve("/m.gguf", {.body = body_});
  LeavePart(std::string(250'000, 'x'));
  const auto got = Get();
  ASSERT_TRUE(got.has_value()) << got.error().message;
  EXPECT_EQ(Content(got->path), body_);
}

TEST_F(DownloadTest, APartThatIsTooLongIsDownloadedAgain) {
  server_.Serve("/m.gguf", {.body = body_});
  LeavePart(body_ + "tail");
  const auto got = Get();
  ASSERT_TRUE(got.has_value()) << got.error().message;
  EXPECT_EQ(Content(got->path), body_);
}

TEST_F(DownloadTest, FromAServerThatIgnoresRangesTheDownloadRestarts) {
  server_.Serve("/m.gguf", {.body = body_, .ranges = false});
  LeavePart(body_.substr(0, 100'000));
  const auto got = Get();
  ASSERT_TRUE(got.has_value()) << got.error().message;
  EXPECT_EQ(Content(got->path), body_);
}

// Without ranges each attempt starts from zero: only getting further than all earlier attempts is progress.
TEST_F(DownloadTest, AServerThatIgnoresRangesAndCutsAtVaryingPlacesFails) {
  std::vector<Served> answers;
  for (int i = 0; i < 20; ++i) {
    answers.push_back({.body = body_, .ranges = false, .cut_after = i % 2 == 0 ? 100'000U : 150'000U});
  }
  server_.ServeInTurn("/m.gguf", answers);
  EXPECT_EQ(Get().error().code, Code::kUnavailable);
  EXPECT_LT(server_.Seen().size(), 8U);
}

TEST_F(DownloadTest, ALengthThatIsTooLargeFails) {
  server_.Serve("/m.gguf", {.body = body_, .length_lie = 50'000});
  const auto got = Get();
  ASSERT_FALSE(got.has_value());
  EXPECT_LT(server_.Seen().size(), 10U);
}

TEST_F(DownloadTest, ALengthOtherThanTheKnownSizeIsRefused) {
  for (const int64_t lie : {-50'000, 50'000}) {
    server_.Serve("/m.gguf", {.body = body_, .length_lie = lie});
    spec_.size = body_.size();
    const auto got = Get();
    ASSERT_FALSE(got.has_value());
    EXPECT_EQ(got.error().code, Code::kCorrupt) << lie;
  }
}

TEST_F(DownloadTest, ALengthThatIsTooSmallIsDetectedByTheHash) {
  server_.Serve("/m.gguf", {.body = body_, .length_lie = -50'000});
  const auto got = Get();
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().code, Code::kCorrupt);
  EXPECT_FALSE(std::filesystem::exists(PartPath()));
}

TEST_F(DownloadTest, AStalledDownloadIsResumedWhereItStopped) {
  server_.ServeInTurn("/m.gguf", {{.body = body_, .stall_after = 100'000}, {.body = body_}});
  spec_.stall_timeout = kSecond;
  const auto got = Get();
  ASSERT_TRUE(got.has_value()) << got.error().message;
  EXPECT_EQ(Content(got->path), body_);
  EXPECT_EQ(server_.Seen().back(), "GET /m.gguf bytes=100000-");
}

TEST_F(DownloadTest, ARedirectLoopIsReportedImmediately) {
  server_.Serve("/m.gguf", {.status = 302, .headers = {"Location: " + server_.Url("/b")}});
  server_.Serve("/b", {.status = 302, .headers = {"Location: " + server_.Url("/m.gguf")}});
  const auto got = Get();
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().code, Code::kInvalid);
  EXPECT_TRUE(got.error().message.contains("redirect loop")) << got.error().message;
  EXPECT_LE(server_.Seen().size(), 12U) << "one try, eleven requests";
}

TEST_F(DownloadTest, ARedirectToAnotherProtocolIsNotFollowed) {
  server_.Serve("/m.gguf", {.status = 302, .headers = {"Location: file:///etc/passwd"}});
  EXPECT_EQ(Get().error().code, Code::kInvalid);
}

TEST_F(DownloadTest, TheAccessTokenDoesNotFollowARedirectToAnotherHost) {
  TestServer elsewhere;
  elsewhere.Serve("/cdn", {.body = body_});
  server_.Serve("/m.gguf", {.status = 302, .headers = {"Location: " + elsewhere.Url("/cdn")}});
  spec_.headers = {"Authorization: Bearer secret"};
  const auto got = Get();
  ASSERT_TRUE(got.has_value()) << got.error().message;
  EXPECT_TRUE(server_.SawHeader("Authorization"));
  EXPECT_FALSE(elsewhere.SawHeader("Authorization"));
}

TEST_F(DownloadTest, WaitsAsLongAsABusyServerAsks) {
  std::vector<Nanos> waits;
  spec_.sleep = [&](Nanos wait) { waits.push_back(wait); };
  server_.ServeInTurn("/m.gguf", {{.status = 429, .headers = {"Retry-After: 7"}},
                                  {.status = 503},
                                  {.body = body_, .cut_after = 100'000},
                                  {.body = body_}});
  const auto got = Get();
  ASSERT_TRUE(got.has_value()) << got.error().message;
  EXPECT_EQ(waits, (std::vector<Nanos>{7 * kSecond, kMillisecond, kMillisecond}));
}

TEST_F(DownloadTest, AServerThatAsksToWaitTooLongFailsWithThatTime) {
  server_.Serve("/m.gguf", {.status = 503, .headers = {"Retry-After: 3600"}});
  spec_.sleep = [](Nanos) { FAIL() << "it waited"; };
  const auto got = Get();
  ASSERT_FALSE(got.has_value());
  EXPECT_TRUE(got.error().message.contains("3600 s")) << got.error().message;
}

TEST(RetryAfter, ReadsSecondsAndDates) {
  const auto told = [](const std::string& text) {
    return RetryAfter({.headers = {{"retry-after", text}}}, 1'000'000'000 * kSecond) / kSecond;
  };
  EXPECT_EQ(told("120"), 120);
  EXPECT_EQ(told("Sun, 09 Sep 2001 01:47:40 GMT"), 60);
  EXPECT_EQ(told("Sun, 09 Sep 2001 01:40:00 GMT"), 0);
  EXPECT_EQ(told("soon"), 0);
  EXPECT_EQ(told("-5"), 0);
  EXPECT_EQ(told(""), 0);
}

TEST_F(DownloadTest, AServerThatCutsAndIgnoresRangesFails) {
  server_.Serve("/m.gguf", {.body = body_, .ranges = false, .cut_after = 100'000});
  const auto got = Get();
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().code, Code::kUnavailable);
}

TEST_F(DownloadTest, ARangeThatBeginsAtAnotherByteIsRefused) {
  server_.Serve("/m.gguf", {.body = body_, .range_shift = 1});
  LeavePart(body_.substr(0, 100'000));
  const auto got = Get();
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().code, Code::kCorrupt);
  EXPECT_TRUE(got.error().message.contains("100001")) << got.error().message;
}

TEST_F(DownloadTest, WrongBytesAreReportedAndDeleted) {
  std::string wrong = body_;
  wrong[150'000] ^= 1;
  server_.Serve("/m.gguf", {.body = wrong});
  const auto got = Get();
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().code, Code::kCorrupt);
  EXPECT_TRUE(got.error().message.contains(spec_.sha256));
  EXPECT_FALSE(std::filesystem::exists(PartPath()));
}

TEST_F(DownloadTest, AnotherSizeThanExpectedIsRefusedBeforeTheDownload) {
  spec_.size = body_.size();
  server_.Serve("/m.gguf", {.body = "<html>please log in</html>"});
  const auto got = Get();
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().code, Code::kCorrupt);
  EXPECT_TRUE(got.error().message.contains("300000")) << got.error().message;
}

TEST_F(DownloadTest, MoreBytesThanExpectedAreRefused) {
  spec_.size = 1000;
  server_.Serve("/m.gguf", {.body = body_, .no_length = true});
  const auto got = Get();
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().code, Code::kCorrupt);
  EXPECT_LE(std::filesystem::file_size(PartPath()), 1000U);
}

TEST_F(DownloadTest, AnAnswerWithoutALengthIsTakenToItsEnd) {
  server_.Serve("/m.gguf", {.body = body_, .no_length = true});
  const auto got = Get();
  ASSERT_TRUE(got.has_value()) << got.error().message;
  EXPECT_EQ(got->size, body_.size());
}

TEST_F(DownloadTest, MissingForbiddenAndServerErrorAreDifferentErrors) {
  EXPECT_EQ(Get().error().code, Code::kNotFound);
  server_.Serve("/m.gguf", {.status = 403});
  EXPECT_EQ(Get().error().code, Code::kForbidden);
  server_.Serve("/m.gguf", {.status = 502});
  EXPECT_EQ(Get().error().code, Code::kUnavailable);
}

TEST_F(DownloadTest, AServerThatDoesNotListenIsNamed) {
  spec_.url = "http://127.0.0.1:1/m.gguf";
  const auto got = Get();
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().code, Code::kUnavailable);
  EXPECT_TRUE(got.error().message.contains("127.0.0.1:1")) << got.error().message;
}

TEST_F(DownloadTest, ASilentServerFails) {
  server_.Serve("/m.gguf", {.silent = true});
  spec_.stall_timeout = kSecond;
  spec_.tries = 1;
  const auto got = Get();
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().code, Code::kUnavailable);
}

TEST_F(DownloadTest, AnotherProcessThatDownloadsTheSameFileIsNotDisturbed) {
  const Fd other(open(PartPath().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  ASSERT_EQ(flock(other.get(), LOCK_EX | LOCK_NB), 0);
  EXPECT_EQ(Get().error().code, Code::kConflict);
}

TEST_F(DownloadTest, ADiskThatIsTooSmallIsReportedBeforeTheDownload) {
  spec_.size = 1ULL << 60;
  const auto got = Get();
  ASSERT_FALSE(got.has_value());
  EXPECT_EQ(got.error().code, Code::kIo);
  EXPECT_TRUE(got.error().message.contains("--data")) << got.error().message;
}

}  // namespace
}  // namespace penstock
