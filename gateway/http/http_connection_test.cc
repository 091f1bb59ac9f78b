#include "gateway/http/http_connection.h"

#include <gtest/gtest.h>

#include "gateway/testing.h"

namespace penstock::gateway {
namespace {

using testing::Answer;
using testing::Chat;
using testing::Client;
using testing::World;

TEST(Http, KeepsTheConnectionForTheNextRequest) {
  World world;
  Client client(world.port);
  for (int i = 0; i < 3; ++i) {
    client.Get("/livez");
    EXPECT_EQ(client.Read().body, "ok\n");
  }
}

TEST(Http, AnswersPipelinedRequestsInOrder) {
  World world;
  world.Do([&] { world.fleet.AnswerWith({"Hello"}); });
  Client client(world.port);
  client.Post("/v1/chat/completions", Chat());
  client.Get("/livez");
  client.Post("/v1/chat/completions", Chat(R"(,"stream":true)"));
  client.Get("/readyz");
  EXPECT_EQ(client.Read().status, 200);
  EXPECT_EQ(client.Read().body, "ok\n");
  EXPECT_NE(client.Read().body.find("[DONE]"), std::string::npos);
  EXPECT_EQ(client.Read().body, "ready\n");
}

TEST(Http, ReadsARequestThatComesByteByByte) {
  World world;
  world.Do([&] { world.fleet.AnswerWith({"Hello"}); });
  Client client(world.port);
  const std::string body = Chat();
  const std::string bytes = fmt::format(
      "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nAuthorization: bearer key-a\r\ncontent-length: "
      "{}\r\n\r\n{}",
      body.size(), body);
  for (const char c : bytes) client.Send({&c, 1});
  EXPECT_EQ(client.Read().status, 200);
}

TEST(Http, ReadsAChunkedBody) {
  World world;
  world.Do([&] { world.fleet.AnswerWith({"Hello"}); });
  Client client(world.port);
  client.Send(
      "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-api-key: key-a\r\ntransfer-encoding: "
      "chunked\r\n\r\n");
  const std::string body = Chat();
  for (size_t at = 0; at < body.size(); at += 7) {
    const std::string part = body.substr(at, 7);
    client.Send(fmt::format("{:x}\r\n{}\r\n", part.size(), part));
  }
  client.Send("0\r\n\r\n");
  EXPECT_EQ(client.Read().status, 200);
}

TEST(Http, SaysContinueToAClientThatWaitsForIt) {
  World world;
  world.Do([&] { world.fleet.AnswerWith({"Hello"}); });
  Client client(world.port);
  const std::string body = Chat();
  client.Send(
      fmt::format("POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer key-a\r\n"
                  "content-length: {}\r\nexpect: 100-continue\r\n\r\n",
                  body.size()));
  EXPECT_EQ(client.ReadUntil("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.Send(body);
  EXPECT_EQ(client.Read().status, 200);
}

TEST(Http, RefusesAWrongKeyBeforeItTakesTheBody) {
  World world;
  Client client(world.port);
  client.Send(
      "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer wrong\r\n"
      "content-length: 9000000\r\nexpect: 100-continue\r\n\r\n");
  const Answer answer = client.Read();
  EXPECT_EQ(answer.status, 401);
  EXPECT_EQ(answer.headers.at("connection"), "close");
  EXPECT_TRUE(client.AtEnd());
}

TEST(Http, KeepsTheConnectionWhenARefusedBodyIsShort) {
  World world;
  Client client(world.port);
  client.Post("/v1/chat/completions", Chat(), "wrong");
  EXPECT_EQ(client.Read().status, 401);
  client.Get("/livez");
  EXPECT_EQ(client.Read().status, 200);
}

TEST(Http, HeadHasTheHeadersOfGetAndNoBody) {
  World world;
  Client client(world.port);
  client.Get("/livez", "", "HEAD");
  const Answer head = client.Read(true);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.headers.at("content-length"), "3");
  client.Get("/livez");
  EXPECT_EQ(client.Read().body, "ok\n");
}

TEST(Http, AWrongMethodIsToldTheRightOnes) {
  World world;
  Client client(world.port);
  client.Get("/v1/chat/completions");
  const Answer answer = client.Read();
  EXPECT_EQ(answer.status, 405);
  EXPECT_EQ(answer.headers.at("allow"), "POST, OPTIONS");
}

TEST(Http, AWrongPathIsToldTheRightOnes) {
  World world;
  Client client(world.port);
  client.Get("/v1/chat/completion");
  const Answer answer = client.Read();
  EXPECT_EQ(answer.status, 404);
  EXPECT_NE(answer.Error("message").find("/v1/chat/completions"), std::string::npos);
}

TEST(Http, TooManyHeadersAre431) {
  GatewayOptions options;
  options.max_header_bytes = 1000;
  World world(options);
  Client client(world.port);
  client.Send("GET /livez HTTP/1.1\r\nx: " + std::string(2000, 'a') + "\r\n\r\n");
  EXPECT_EQ(client.Read().status, 431);
}

TEST(Http, TooLargeABodyIs413) {
  GatewayOptions options;
  options.max_body_bytes = 1000;
  World world(options);
  Client client(world.port);
  client.Post("/v1/chat/completions", std::string(2000, ' '));
  const Answer answer = client.Read();
  EXPECT_EQ(answer.status, 413);
  EXPECT_NE(answer.Error("message").find("1000 bytes"), std::string::npos);
}

TEST(Http, TooLargeAChunkedBodyIs413) {
  GatewayOptions options;
  options.max_body_bytes = 1000;
  World world(options);
  Client client(world.port);
  client.Send(
      "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer key-a\r\n"
      "transfer-encoding: chunked\r\n\r\n3e9\r\n" +
      std::string(1001, ' ') + "\r\n");
  EXPECT_EQ(client.Read().status, 413);
}

TEST(Http, ARequestThatDoesNotComeInTimeIs408) {
  GatewayOptions options;
  options.header_timeout = 50 * kMillisecond;
  World world(options);
  Client client(world.port);
  client.Send("GET /livez HTTP/1.1\r\n");
  EXPECT_EQ(client.Read().status, 408);
}

TEST(Http, AnIdleConnectionIsClosed) {
  GatewayOptions options;
  options.header_timeout = 50 * kMillisecond;
  World world(options);
  Client client(world.port);
  EXPECT_TRUE(client.AtEnd());
}

TEST(Http, GarbageIs400) {
  World world;
  Client client(world.port);
  client.Send("\x16\x03\x01 hello\r\n\r\n");
  EXPECT_EQ(client.Read().status, 400);
  EXPECT_TRUE(client.AtEnd());
}

TEST(Http, OneConnectionTooManyIsToldSo) {
  GatewayOptions options;
  options.max_connections = 1;
  World world(options);
  Client first(world.port);
  first.Get("/livez");
  EXPECT_EQ(first.Read().status, 200);
  Client second(world.port);
  EXPECT_EQ(second.Read().status, 503);
}

TEST(Http, Http10GetsAPlainBodyAndTheEnd) {
  World world;
  world.Do([&] { world.fleet.AnswerWith({"Hello"}); });
  Client client(world.port);
  const std::string body = Chat(R"(,"stream":true)");
  client.Send(fmt::format(
      "POST /v1/chat/completions HTTP/1.0\r\nauthorization: Bearer key-a\r\ncontent-length: {}\r\n\r\n{}",
      body.size(), body));
  const Answer head = client.ReadHead();
  EXPECT_FALSE(head.headers.contains("transfer-encoding"));
  EXPECT_NE(client.ReadUntil("[DONE]\n\n").find("Hello"), std::string::npos);
  EXPECT_TRUE(client.AtEnd());
}

TEST(Http, AGracefulStopClosesIdleConnectionsAndFinishesWhatRuns) {
  World world;
  Client idle(world.port), busy(world.port);
  idle.Get("/livez");
  idle.Read();
  busy.Post("/v1/chat/completions", Chat(R"(,"stream":true)"));
  ASSERT_EQ(busy.ReadHead().status, 200);
  world.StopAccepting();
  EXPECT_TRUE(idle.AtEnd());
  world.Do([&] {
    world.fleet.Emit(1, "still here");
    world.fleet.Emit(1, "", 0, wire::STOP);
  });
  std::string body;
  for (std::string chunk = busy.ReadChunk(); !chunk.empty(); chunk = busy.ReadChunk()) body += chunk;
  EXPECT_NE(body.find("still here"), std::string::npos);
  EXPECT_NE(body.find("[DONE]"), std::string::npos);
  EXPECT_TRUE(busy.AtEnd());
}

TEST(Http, EveryAnswerCarriesARequestId) {
  World world;
  Client client(world.port);
  for (const char* path : {"/livez", "/nowhere", "/v1/models"}) {
    client.Get(path);
    EXPECT_TRUE(client.Read().headers.contains("x-request-id")) << path;
  }
}

}  // namespace
}  // namespace penstock::gateway
