#include "gateway/http/body_decoder.h"

#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include <vector>

#include "base/random.h"
#include "gateway/testing.h"

namespace penstock::gateway {
namespace {

using testing::Answer;
using testing::Chat;
using testing::Client;
using testing::World;
using State = BodyDecoder::State;

std::string Deflate(std::string_view text, int window) {
  z_stream stream{};
  deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}
std::string Gzip(std::string_view text) {
  return Deflate(text, 15 + 16);
}
std::string Zstd(std::string_view text, int window_log = 0) {
  ZSTD_CCtx* const context = ZSTD_createCCtx();
  if (window_log > 0) ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, window_log);
  std::string out(ZSTD_compressBound(text.size()) + (1 << 10), '\0');
  ZSTD_inBuffer in{.src = text.data(), .size = text.size(), .pos = 0};
  ZSTD_outBuffer written{.dst = out.data(), .size = out.size(), .pos = 0};
  // Flushed first, so that the frame does not say how long it is and names its window instead.
  ZSTD_compressStream2(context, &written, &in, ZSTD_e_flush);
  ZSTD_compressStream2(context, &written, &in, ZSTD_e_end);
  ZSTD_freeCCtx(context);
  out.resize(written.pos);
  return out;
}

struct Decoded {
  State state;
  std::string text;
  int steps;
};
Decoded Decode(Coding coding, std::string_view encoded, size_t step = 1 << 20, size_t most = 64 << 20) {
  const auto decoder = BodyDecoder::Make(coding);
  Decoded decoded{.state = State::kMore, .text = {}, .steps = 0};
  while (decoded.state == State::kMore && decoded.text.size() < most) {
    const size_t before = decoded.text.size();
    decoded.state = decoder->Step(encoded, step, decoded.text);
    EXPECT_LE(decoded.text.size() - before, step);
    ++decoded.steps;
  }
  return decoded;
}

std::string Text(size_t size) {
  Random random(3);
  std::string text;
  while (text.size() < size) text += static_cast<char>('a' + random.Below(20));
  return text;
}

TEST(BodyDecoder, UndoesEachCodingInStepsOfAnySize) {
  const std::string text = Text(300'000);
  const std::pair<Coding, std::string> kAll[] = {
      {Coding::kGzip, Gzip(text)},
      {Coding::kGzip, Gzip(text.substr(0, 1000)) + Gzip(text.substr(1000))},
      {Coding::kDeflate, Deflate(text, 15)},
      {Coding::kDeflate, Deflate(text, -15)},
      {Coding::kZstd, Zstd(text)},
      {Coding::kZstd, Zstd(text.substr(0, 1000)) + Zstd(text.substr(1000))}};
  for (const auto& [coding, encoded] : kAll) {
    for (const size_t step : {size_t{777}, size_t{300'000}, size_t{1} << 20}) {
      const Decoded decoded = Decode(coding, encoded, step);
      EXPECT_EQ(decoded.state, State::kDone) << CodingName(coding) << step;
      EXPECT_TRUE(decoded.text == text) << CodingName(coding) << step;
    }
  }
}

TEST(BodyDecoder, TellsWhatIsCutOrChangedOrHasSomethingBehindIt) {
  const std::string text = Text(100'000);
  const std::pair<Coding, std::string> kAll[] = {
      {Coding::kGzip, Gzip(text)}, {Coding::kDeflate, Deflate(text, 15)}, {Coding::kZstd, Zstd(text)}};
  for (const auto& [coding, encoded] : kAll) {
    for (const size_t size : {size_t{1}, size_t{5}, encoded.size() / 2, encoded.size() - 1})
      EXPECT_EQ(Decode(coding, std::string_view(encoded).substr(0, size)).state, State::kDamaged)
          << CodingName(coding) << size;
    EXPECT_EQ(Decode(coding, encoded + "more").state, State::kDamaged) << CodingName(coding);
    EXPECT_EQ(Decode(coding, "{\"model\":\"tiny\"}").state, State::kDamaged) << CodingName(coding);
  }
}

TEST(BodyDecoder, ABombCostsNoMoreThanItsReaderTakes) {
  const std::string zeros(64 << 20, '\0');
  for (const auto& [coding, encoded] :
       {std::pair(Coding::kGzip, Gzip(zeros)), std::pair(Coding::kZstd, Zstd(zeros))}) {
    EXPECT_LT(encoded.size(), 100'000);
    const Decoded decoded = Decode(coding, encoded, 1 << 20, 3 << 20);
    EXPECT_EQ(decoded.text.size(), 3 << 20);
    EXPECT_EQ(decoded.steps, 3);
  }
}

TEST(BodyDecoder, AWindowBeyond8MiBIsRefused) {
  const std::string text(40 << 20, 'a');
  EXPECT_EQ(Decode(Coding::kZstd, Zstd(text, 23)).state, State::kDone);
  EXPECT_EQ(Decode(Coding::kZstd, Zstd(text, 25)).state, State::kDamaged);
}

TEST(BodyDecoder, KnowsTheCodingsByName) {
  EXPECT_EQ(CodingOf(""), Coding::kIdentity);
  EXPECT_EQ(CodingOf("identity"), Coding::kIdentity);
  EXPECT_EQ(CodingOf("GZIP"), Coding::kGzip);
  EXPECT_EQ(CodingOf("x-gzip, identity"), Coding::kGzip);
  EXPECT_EQ(CodingOf(" zstd "), Coding::kZstd);
  for (const char* other : {"br", "gzip, gzip", "gzip;q=1", "compress", "gzip gzip"})
    EXPECT_EQ(CodingOf(other), std::nullopt) << other;
}

// ---- over HTTP ----

Answer Post(const World& world, std::string_view coding, std::string_view body,
            std::string_view key = "key-a") {
  Client client(world.port);
  client.Post("/v1/chat/completions", body, key, fmt::format("content-encoding: {}\r\n", coding));
  return client.Read();
}

TEST(BodyDecoding, RequestsInEachCodingAreAnsweredAsIfTheyHadNone) {
  World world;
  world.Do([&] { world.fleet.AnswerWith({"Hello"}); });
  for (const size_t size : {size_t{10}, size_t{100'000}, size_t{3'000'000}}) {
    const std::string body = Chat(fmt::format(R"(,"user":"{}")", Text(size)));
    EXPECT_EQ(Post(world, "gzip", Gzip(body)).status, 200);
    EXPECT_EQ(Post(world, "deflate", Deflate(body, 15)).status, 200);
    EXPECT_EQ(Post(world, "zstd", Zstd(body)).status, 200);
    EXPECT_EQ(Post(world, "identity", body).status, 200);
  }
  EXPECT_TRUE(world.Eventually([&] { return world.body_memory() == 0; }));
}

TEST(BodyDecoding, ABombIs413AndHoldsNothingAfterwards) {
  GatewayOptions options;
  options.max_body_bytes = 4 << 20;
  World world(options);
  const std::string zeros(64 << 20, ' ');
  for (const auto& [coding, body] : {std::pair("gzip", Gzip(zeros)), std::pair("zstd", Zstd(zeros))}) {
    const Answer answer = Post(world, coding, body);
    EXPECT_EQ(answer.status, 413);
    EXPECT_NE(answer.Error("message").find("4194304 bytes when it is decoded"), std::string::npos)
        << answer.body;
  }
  EXPECT_TRUE(world.Eventually([&] { return world.body_memory() == 0; }));
}

TEST(BodyDecoding, ADecodedBodyCountsForItsKey) {
  GatewayOptions options;
  options.body_memory_per_key = 1 << 20;
  World world(options);
  Client half(world.port);
  half.Send(
      "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer "
      "key-a\r\ncontent-length: "
      "900000\r\n\r\n" +
      std::string(800'000, ' '));
  ASSERT_TRUE(world.Eventually([&] { return world.body_memory() == 800'000; }));
  const std::string body = Gzip(std::string(2 << 20, ' '));
  EXPECT_EQ(Post(world, "gzip", body).status, 429);
  EXPECT_EQ(Post(world, "gzip", body, "operator").status, 400) << "another key has room: no JSON";
}

TEST(BodyDecoding, AnUnknownCodingIsToldTheKnownOnes) {
  World world;
  const Answer answer = Post(world, "br", "{}");
  EXPECT_EQ(answer.status, 415);
  EXPECT_EQ(answer.headers.at("accept-encoding"), kAcceptedCodings);
  EXPECT_NE(answer.Error("message").find("'br'"), std::string::npos);
}

TEST(BodyDecoding, AClientThatLeavesWhileItsBodyIsDecodedCostsNothing) {
  World world;
  const std::string body = Gzip(std::string(15 << 20, ' '));
  for (int i = 0; i < 20; ++i) {
    Client client(world.port);
    client.Post("/v1/chat/completions", body, "key-a", "content-encoding: gzip\r\n");
  }
  EXPECT_TRUE(world.Eventually([&] { return world.body_memory() == 0; }));
  EXPECT_EQ(world.Ask([&] { return world.fleet.jobs.size(); }), 0);
}

}  // namespace
}  // namespace penstock::gateway
