#include "attach/http.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace penstock {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string BodyOf(std::string_view bytes, size_t piece, bool end = false) {
  ResponseReader reader;
  std::string body;
  for (size_t at = 0; at < bytes.size(); at += piece) {
    if (const auto fed = reader.Feed(bytes.substr(at, piece)); !fed) return "error: " + fed.error().message;
    body += reader.TakeBody();
  }
  if (end) {
    if (const auto ended = reader.End(); !ended) return "error: " + ended.error().message;
  }
  return body + (reader.done() ? "" : "…");
}

TEST(ResponseReader, ReadsABodyByLengthHoweverItIsCut) {
  constexpr std::string_view kAnswer =
      "HTTP/1.1 200 OK\r\nContent-Type: Application/JSON; charset=utf-8\r\nContent-Length: 5\r\n\r\nhello";
  for (const size_t piece : {1U, 2U, 7U, 1000U}) EXPECT_EQ(BodyOf(kAnswer, piece), "hello");
  ResponseReader reader;
  ASSERT_TRUE(reader.Feed(kAnswer));
  EXPECT_EQ(reader.content_type(), "application/json");
  EXPECT_EQ(reader.status(), 200);
  EXPECT_TRUE(reader.reusable());
}

TEST(ResponseReader, ReadsChunksAndBodiesThatEndWithTheConnection) {
  constexpr std::string_view kChunks =
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
  for (const size_t piece : {1U, 3U, 1000U}) EXPECT_EQ(BodyOf(kChunks, piece), "abcde");
  EXPECT_EQ(BodyOf("HTTP/1.0 200 OK\r\n\r\nall of it", 4, true), "all of it");
}

TEST(ResponseReader, AnAnswerThatLiesAboutItsLengthIsBrokenOff) {
  EXPECT_THAT(BodyOf("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", 9, true),
              HasSubstr("during its answer"));
}

TEST(ResponseReader, NamesWhatIsNoHttp) {
  EXPECT_THAT(BodyOf("SSH-2.0-OpenSSH_9.2\r\n\r\n", 5), HasSubstr("not HTTP"));
  EXPECT_THAT(BodyOf("HTTP/1.1 200 OK\r\nX: " + std::string(100'000, 'x'), 4096), HasSubstr("not HTTP"));
}

TEST(ResponseReader, ReadsRetryAfterInSeconds) {
  ResponseReader reader;
  ASSERT_TRUE(reader.Feed("HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"));
  EXPECT_EQ(reader.retry_after(), 7);
  EXPECT_TRUE(reader.done());
}

std::vector<std::string> EventsOf(std::string_view bytes, size_t piece) {
  EventReader reader;
  std::vector<std::string> events;
  for (size_t at = 0; at < bytes.size(); at += piece)
    EXPECT_TRUE(reader.Feed(bytes.substr(at, piece), events));
  reader.End(events);
  return events;
}

TEST(EventReader, LinesEndAsTheStandardSaysHoweverTheyAreCut) {
  constexpr std::string_view kStream =
      ": comment\n\ndata: one\n\ndata:two\r\ndata: more\r\n\r\nevent: x\rdata: three\r\rdata: last";
  for (const size_t piece : {1U, 2U, 3U, 5U, 1000U})
    EXPECT_THAT(EventsOf(kStream, piece), ElementsAre("one", "two\nmore", "three", "last")) << piece;
}

TEST(EventReader, AnEndlessLineIsRefused) {
  EventReader reader;
  std::vector<std::string> events;
  const std::string piece(1 << 20, 'x');
  Status status;
  for (int i = 0; i < 10 && status; ++i) status = reader.Feed(piece, events);
  ASSERT_FALSE(status);
  EXPECT_THAT(status.error().message, HasSubstr("more than 4 MB"));
  EXPECT_THAT(events, IsEmpty());
}

}  // namespace
}  // namespace penstock
