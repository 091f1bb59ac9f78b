// What RFC 9110 and 9112 demand of a request, by raw bytes: status, whether the connection stays open, and
// that no body is ever read as the next request.
#include <gtest/gtest.h>

#include "gateway/testing.h"

namespace penstock::gateway {
namespace {

using testing::Answer;
using testing::Chat;
using testing::Client;
using testing::World;

// A request that must not be found in another one's body: it would be answered with 200.
constexpr std::string_view kHidden =
    "GET /v1/models HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer key-a\r\n\r\n";

struct Case {
  std::string_view name, request;
  int status;
  bool kept;
};
std::ostream& operator<<(std::ostream& out, const Case& one) {
  return out << one.name;
}

#define KEY "authorization: Bearer key-a\r\n"
#define HOST "host: localhost\r\n"
#define CHUNKED_END "0\r\n\r\n"

constexpr Case kCases[] = {
    // ---- the target ----
    {"absolute form", "GET http://localhost/v1/models HTTP/1.1\r\n" HOST KEY "\r\n", 200, true},
    {"absolute form, https", "GET https://ai.example:443/v1/models HTTP/1.1\r\n" HOST KEY "\r\n", 200, true},
    {"absolute form, upper case", "GET HTTP://LOCALHOST/livez HTTP/1.1\r\n" HOST "\r\n", 200, true},
    {"absolute form without a path", "GET http://localhost HTTP/1.1\r\n" HOST "\r\n", 200, true},
    {"absolute form with a query", "GET http://localhost?a=b HTTP/1.1\r\n" HOST "\r\n", 200, true},
    {"absolute form without Host", "GET http://localhost/livez HTTP/1.1\r\n\r\n", 400, false},
    {"absolute form with a user", "GET http://me@localhost/livez HTTP/1.1\r\n" HOST "\r\n", 400, false},
    {"absolute form without a host", "GET http:///livez HTTP/1.1\r\n" HOST "\r\n", 400, false},
    {"absolute form of another scheme", "GET ftp://localhost/livez HTTP/1.1\r\n" HOST "\r\n", 400, false},
    {"no slash", "GET livez HTTP/1.1\r\n" HOST "\r\n", 400, false},
    {"a fragment", "GET /livez#x HTTP/1.1\r\n" HOST "\r\n", 400, false},
    {"options of the server", "OPTIONS * HTTP/1.1\r\n" HOST "\r\n", 204, true},
    {"another method of the server", "GET * HTTP/1.1\r\n" HOST "\r\n", 400, false},
    {"connect", "CONNECT localhost:1 HTTP/1.1\r\n" HOST "\r\n", 501, false},
    {"an unknown method", "BREW /livez HTTP/1.1\r\n" HOST "\r\n", 501, false},
    {"a later version", "GET /livez HTTP/2.0\r\n" HOST "\r\n", 505, false},
    {"a slash at the end", "GET /v1/models/ HTTP/1.1\r\n" HOST KEY "\r\n", 200, true},
    // ---- Host ----
    {"no Host", "GET /v1/models HTTP/1.1\r\n" KEY "\r\n", 400, false},
    {"two Hosts", "GET /livez HTTP/1.1\r\n" HOST HOST "\r\n", 400, false},
    {"two Hosts in 1.0", "GET /livez HTTP/1.0\r\n" HOST "Host: evil\r\n\r\n", 400, false},
    {"no Host in 1.0", "GET /v1/models HTTP/1.0\r\n" KEY "\r\n", 200, false},
    {"an empty Host", "GET /v1/models HTTP/1.1\r\nhost:\r\n" KEY "\r\n", 200, true},
    {"a Host with a path", "GET /livez HTTP/1.1\r\nhost: a/b\r\n\r\n", 400, false},
    {"a Host with a user", "GET /livez HTTP/1.1\r\nhost: a@b\r\n\r\n", 400, false},
    {"a Host with spaces", "GET /livez HTTP/1.1\r\nhost: a b\r\n\r\n", 400, false},
    {"a Host with a wrong port", "GET /livez HTTP/1.1\r\nhost: a:b\r\n\r\n", 400, false},
    {"two names in a Host", "GET /livez HTTP/1.1\r\nhost: a, b\r\n\r\n", 400, false},
    {"a Host that is an address", "GET /livez HTTP/1.1\r\nhost: [::1]:8700\r\n\r\n", 200, true},
    // ---- where a body ends ----
    {"te not chunked", "POST /v1/completions HTTP/1.1\r\n" HOST KEY "Transfer-Encoding: gzip\r\n\r\n", 400,
     false},
    {"te identity", "POST /v1/completions HTTP/1.1\r\n" HOST KEY "Transfer-Encoding: identity\r\n\r\n", 400,
     false},
    {"te not chunked last",
     "POST /v1/completions HTTP/1.1\r\n" HOST KEY "Transfer-Encoding: chunked, gzip\r\n\r\n" CHUNKED_END, 400,
     false},
    {"te chunked in another word",
     "POST /v1/completions HTTP/1.1\r\n" HOST KEY "Transfer-Encoding: xchunked\r\n\r\n" CHUNKED_END, 400,
     false},
    {"te quoted",
     "POST /v1/completions HTTP/1.1\r\n" HOST KEY "Transfer-Encoding: \"chunked\"\r\n\r\n" CHUNKED_END, 400,
     false},
    {"te with a parameter",
     "POST /v1/completions HTTP/1.1\r\n" HOST KEY "Transfer-Encoding: chunked;q=1\r\n\r\n" CHUNKED_END, 400,
     false},
    {"te twice chunked",
     "POST /v1/completions HTTP/1.1\r\n" HOST KEY "Transfer-Encoding: chunked, chunked\r\n\r\n" CHUNKED_END,
     400, false},
    {"te in two lines",
     "POST /v1/completions HTTP/1.1\r\n" HOST KEY
     "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" CHUNKED_END,
     400, false},
    {"te empty", "POST /v1/completions HTTP/1.1\r\n" HOST KEY "Transfer-Encoding:\r\n\r\n" CHUNKED_END, 400,
     false},
    {"te with an unknown coding",
     "POST /v1/completions HTTP/1.1\r\n" HOST KEY "Transfer-Encoding: gzip, chunked\r\n\r\n" CHUNKED_END, 501,
     false},
    {"te with a space before the colon",
     "POST /v1/completions HTTP/1.1\r\n" HOST KEY "Transfer-Encoding : chunked\r\n\r\n" CHUNKED_END, 400,
     false},
    {"te in 1.0", "POST /v1/completions HTTP/1.0\r\n" KEY "Transfer-Encoding: chunked\r\n\r\n" CHUNKED_END,
     400, false},
    {"te then cl",
     "POST /v1/completions HTTP/1.1\r\n" HOST KEY
     "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" CHUNKED_END,
     400, false},
    {"cl then te",
     "POST /v1/completions HTTP/1.1\r\n" HOST KEY
     "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" CHUNKED_END,
     400, false},
    {"cl and te that is not chunked",
     "POST /v1/completions HTTP/1.1\r\n" HOST KEY
     "Content-Length: 5\r\nTransfer-Encoding: gzip\r\n\r\n" CHUNKED_END,
     400, false},
    {"te on a route without a body", "GET /livez HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip\r\n\r\n", 400,
     false},
    {"two lengths",
     "POST /v1/completions HTTP/1.1\r\n" HOST KEY "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400,
     false},
    {"the same length twice",
     "POST /v1/completions HTTP/1.1\r\n" HOST KEY "Content-Length: 0\r\nContent-Length: 0\r\n\r\n", 400,
     false},
    {"a list of lengths", "POST /v1/completions HTTP/1.1\r\n" HOST KEY "Content-Length: 0, 0\r\n\r\n", 400,
     false},
    {"a signed length", "POST /v1/completions HTTP/1.1\r\n" HOST KEY "Content-Length: +0\r\n\r\n", 400,
     false},
    {"a hexadecimal length", "POST /v1/completions HTTP/1.1\r\n" HOST KEY "Content-Length: 0x0\r\n\r\n", 400,
     false},
    {"an empty length", "POST /v1/completions HTTP/1.1\r\n" HOST KEY "Content-Length:\r\n\r\n", 400, false},
    {"a length too long",
     "POST /v1/completions HTTP/1.1\r\n" HOST KEY "Content-Length: 99999999999999999999999\r\n\r\n", 400,
     false},
    {"a chunk size too long",
     "POST /v1/completions HTTP/1.1\r\n" HOST KEY
     "Transfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n" CHUNKED_END,
     400, false},
    {"a signed chunk size",
     "POST /v1/completions HTTP/1.1\r\n" HOST KEY
     "Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n" CHUNKED_END,
     400, false},
    {"a chunk longer than it says",
     "POST /v1/completions HTTP/1.1\r\n" HOST KEY
     "Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n" CHUNKED_END,
     400, false},
    {"a chunk line that ends in lf",
     "POST /v1/completions HTTP/1.1\r\n" HOST KEY
     "Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n" CHUNKED_END,
     400, false},
    // ---- bytes ----
    {"a folded header", "GET /livez HTTP/1.1\r\n" HOST "x: a\r\n b\r\n\r\n", 400, false},
    {"a folded header by tab", "GET /livez HTTP/1.1\r\n" HOST "x: a\r\n\tb\r\n\r\n", 400, false},
    {"a folded te",
     "POST /v1/completions HTTP/1.1\r\n" HOST KEY "Transfer-Encoding:\r\n chunked\r\n\r\n" CHUNKED_END, 400,
     false},
    {"a space before the first header", "GET /livez HTTP/1.1\r\n " HOST "\r\n", 400, false},
    {"line feeds only", "GET /livez HTTP/1.1\nhost: localhost\n\n", 400, false},
    {"a line feed in a value", "GET /livez HTTP/1.1\r\n" HOST "x: a\ny: b\r\n\r\n", 400, false},
    {"a carriage return in a value", "GET /livez HTTP/1.1\r\n" HOST "x: a\ry: b\r\n\r\n", 400, false},
    {"a header without a name", "GET /livez HTTP/1.1\r\n" HOST ": a\r\n\r\n", 400, false},
    {"a header without a colon", "GET /livez HTTP/1.1\r\n" HOST "abc\r\n\r\n", 400, false},
    {"empty lines before it", "\r\n\r\nGET /livez HTTP/1.1\r\n" HOST "\r\n", 200, true},
    // ---- the key ----
    {"two keys", "GET /v1/models HTTP/1.1\r\n" HOST KEY KEY "\r\n", 400, false},
    {"two x-api-keys", "GET /v1/models HTTP/1.1\r\n" HOST "x-api-key: key-a\r\nx-api-key: key-b\r\n\r\n", 400,
     false},
    {"basic, then x-api-key",
     "GET /v1/models HTTP/1.1\r\n" HOST "authorization: Basic dTpw\r\nx-api-key: key-a\r\n\r\n", 200, true},
    {"x-api-key, then basic",
     "GET /v1/models HTTP/1.1\r\n" HOST "x-api-key: key-a\r\nauthorization: Basic dTpw\r\n\r\n", 200, true},
    {"bearer before x-api-key", "GET /v1/models HTTP/1.1\r\n" HOST KEY "x-api-key: wrong\r\n\r\n", 200, true},
    {"bearer after x-api-key", "GET /v1/models HTTP/1.1\r\n" HOST "x-api-key: wrong\r\n" KEY "\r\n", 200,
     true},
    // ---- Expect and Content-Encoding ----
    {"an unknown expectation",
     "POST /v1/completions HTTP/1.1\r\n" HOST KEY "Expect: wonders\r\nContent-Length: 2\r\n\r\n{}", 417,
     false},
    {"an unknown coding",
     "POST /v1/completions HTTP/1.1\r\n" HOST KEY "Content-Encoding: br\r\nContent-Length: 2\r\n\r\n{}", 415,
     false},
    {"two codings",
     "POST /v1/completions HTTP/1.1\r\n" HOST KEY
     "Content-Encoding: gzip, zstd\r\nContent-Length: 2\r\n\r\n{}",
     415, false},
    {"a body of another coding",
     "POST /v1/completions HTTP/1.1\r\n" HOST KEY "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
     400, true},
};

class HttpRules : public ::testing::TestWithParam<Case> {};

TEST_P(HttpRules, GiveTheStatusAndLeaveTheConnectionAsTheySay) {
  World world;
  const Case& one = GetParam();
  Client client(world.port);
  client.Send(fmt::format("{}{}", one.request, kHidden));
  const Answer first = client.Read();
  EXPECT_EQ(first.status, one.status) << first.body;
  EXPECT_EQ(first.headers.at("connection"), one.kept ? "keep-alive" : "close");
  if (one.kept) {
    EXPECT_EQ(client.Read().status, 200);
  } else {
    EXPECT_TRUE(client.AtEnd()) << "a body was read as a request";
  }
}
INSTANTIATE_TEST_SUITE_P(All, HttpRules, ::testing::ValuesIn(kCases));

TEST(Http, TheHostOfAnAbsoluteTargetPrecedesTheHeader) {
  World world;
  Client client(world.port);
  client.Send("GET http://evil.example/metrics HTTP/1.1\r\nhost: localhost\r\n\r\n");
  EXPECT_EQ(client.Read().status, 403);
}

TEST(Http, AKeyInATrailerCountsNothing) {
  World world;
  Client client(world.port);
  client.Send(
      "GET /v1/models HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n0\r\nauthorization: "
      "Bearer "
      "key-a\r\n\r\n");
  EXPECT_EQ(client.Read().status, 401);
}

TEST(Http, AChunkWhoseExtensionsNeverEndIsRefused) {
  World world;
  Client client(world.port);
  client.Send("POST /v1/completions HTTP/1.1\r\n" HOST KEY "transfer-encoding: chunked\r\n\r\n5;a=" +
              std::string(100'000, 'x'));
  EXPECT_EQ(client.Read().status, 431);
}

TEST(Http, ContinueIsNotSaidInHttp10) {
  World world;
  world.Do([&] { world.fleet.AnswerWith({"Hello"}); });
  Client client(world.port);
  const std::string body = Chat();
  client.Send(fmt::format("POST /v1/chat/completions HTTP/1.0\r\n" KEY
                          "content-length: {}\r\nexpect: 100-continue\r\n\r\n",
                          body.size()));
  client.Send(body);
  EXPECT_EQ(client.Read().status, 200);
}

TEST(Http, TheEndOfTheClientsBytesEndsItsRequest) {
  World world;
  Client client(world.port);
  client.Post("/v1/chat/completions", Chat(R"(,"stream":true)"));
  EXPECT_EQ(client.ReadHead().status, 200);
  ::shutdown(client.fd(), SHUT_WR);
  EXPECT_TRUE(world.Eventually([&] { return world.fleet.jobs[1].cancelled; }));
}

TEST(Http, AnIdleConnectionStaysAsLongAsItWasTold) {
  GatewayOptions options;
  options.header_timeout = 50 * kMillisecond;
  World world(options);
  Client client(world.port);
  client.Get("/livez");
  EXPECT_EQ(client.Read().headers.at("keep-alive"), "timeout=75");
  std::this_thread::sleep_for(std::chrono::milliseconds(700));  // ticks come every 250 ms
  client.Get("/livez");
  EXPECT_EQ(client.Read().status, 200);
}

TEST(Http, AnIdleConnectionIsClosedAfterItsTime) {
  GatewayOptions options;
  options.keep_alive_timeout = 50 * kMillisecond;
  World world(options);
  Client client(world.port);
  client.Get("/livez");
  EXPECT_EQ(client.Read().status, 200);
  EXPECT_TRUE(client.AtEnd());
}

TEST(Http, AnswersAreNeitherGuessedAtNorKept) {
  World world;
  world.Do([&] { world.fleet.AnswerWith({"Hello"}); });
  Client client(world.port);
  for (const char* path : {"/v1/models", "/v1/usage", "/livez", "/metrics", "/nowhere"}) {
    client.Get(path);
    const Answer answer = client.Read();
    EXPECT_EQ(answer.headers.at("x-content-type-options"), "nosniff") << path;
    EXPECT_EQ(answer.headers.at("cache-control"), "no-store") << path;
    EXPECT_FALSE(answer.headers.contains("strict-transport-security"));
    EXPECT_FALSE(answer.headers.contains("access-control-allow-origin"));
  }
  client.Post("/v1/chat/completions", Chat(R"(,"stream":true)"));
  const Answer stream = client.ReadHead();
  EXPECT_EQ(stream.headers.at("x-content-type-options"), "nosniff");
  EXPECT_EQ(stream.headers.at("cache-control"), "no-cache, no-store");
}

// ---- who may ask without a key ----

int StatusFor(const World& world, std::string_view path, std::string_view host, std::string_view more = "") {
  Client client(world.port);
  client.Send(fmt::format("GET {} HTTP/1.1\r\nhost: {}\r\n{}\r\n", path, host, more));
  return client.Read().status;
}

TEST(Http, WithoutAKeyOnlyLoopbackNamesAreAnsweredOnALoopbackAddress) {
  World world;
  for (const char* host : {"localhost", "LocalHost:8700", "127.0.0.1:8700", "127.3.2.1", "[::1]:1",
                           "a.localhost", "localhost."}) {
    EXPECT_EQ(StatusFor(world, "/metrics", host), 200) << host;
    EXPECT_EQ(StatusFor(world, "/", host), 200) << host;
    EXPECT_EQ(StatusFor(world, "/v1/models", host), 401) << host;
  }
  for (const char* host : {"evil.example", "evil.example:8700", "localhost.evil.example",
                           "127.0.0.1.evil.example", "128.0.0.1", "0.0.0.0", "notlocalhost", ""}) {
    for (const char* path : {"/metrics", "/", "/console/app.js", "/v1/models", "/nowhere"})
      EXPECT_EQ(StatusFor(world, path, host), 403) << host << path;
    EXPECT_EQ(StatusFor(world, "/metrics", host, "authorization: Bearer made-up\r\n"), 403) << host;
    EXPECT_EQ(StatusFor(world, "/metrics", host, KEY), 200) << host;
    EXPECT_EQ(StatusFor(world, "/v1/models", host, KEY), 200) << host;
    EXPECT_EQ(StatusFor(world, "/livez", host), 200) << host;
    EXPECT_EQ(StatusFor(world, "/readyz", host), 200) << host;
  }
}

TEST(Http, NamesInTheSettingAreAnsweredToo) {
  GatewayOptions options;
  options.hosts = {"ai.example.com"};
  World world(options);
  EXPECT_EQ(StatusFor(world, "/metrics", "AI.example.com:443"), 200);
  EXPECT_EQ(StatusFor(world, "/metrics", "example.com"), 403);
}

// ---- other sites' pages ----

TEST(Http, PagesOfAllowedSitesMayUseTheApi) {
  GatewayOptions options;
  options.cors_origins = {"https://app.example.com"};
  World world(options);
  world.Do([&] { world.fleet.AnswerWith({"Hello"}); });
  Client client(world.port);
  client.Send("OPTIONS /v1/chat/completions HTTP/1.1\r\n" HOST
              "origin: https://app.example.com\r\naccess-control-request-method: "
              "POST\r\naccess-control-request-headers: "
              "authorization,content-type\r\n\r\n");
  const Answer preflight = client.Read(true);
  EXPECT_EQ(preflight.status, 204);
  EXPECT_EQ(preflight.headers.at("access-control-allow-origin"), "https://app.example.com");
  EXPECT_EQ(preflight.headers.at("access-control-allow-methods"), "POST, OPTIONS");
  EXPECT_EQ(preflight.headers.at("access-control-allow-headers"), "authorization,content-type");
  for (const char* more : {"", R"(,"stream":true)", R"(,"n":0)"}) {
    client.Post("/v1/chat/completions", Chat(more), "key-a", "origin: https://app.example.com\r\n");
    EXPECT_EQ(client.Read().headers.at("access-control-allow-origin"), "https://app.example.com") << more;
  }
  client.Post("/v1/chat/completions", Chat(), "wrong", "origin: https://app.example.com\r\n");
  EXPECT_EQ(client.Read().headers.at("access-control-allow-origin"), "https://app.example.com");
  client.Post("/v1/chat/completions", Chat(), "key-a", "origin: https://evil.example.com\r\n");
  const Answer other = client.Read();
  EXPECT_FALSE(other.headers.contains("access-control-allow-origin"));
  EXPECT_EQ(other.headers.at("vary"), "origin");
}

TEST(Http, WithoutASettingNoSiteMay) {
  World world;
  Client client(world.port);
  client.Send("OPTIONS /v1/models HTTP/1.1\r\n" HOST
              "origin: https://app.example.com\r\naccess-control-request-method: GET\r\n\r\n");
  const Answer answer = client.Read(true);
  EXPECT_EQ(answer.status, 204);
  EXPECT_FALSE(answer.headers.contains("access-control-allow-origin"));
}

// ---- 404 ----

std::string MessageFor(World& world, std::string_view path, std::string_view key) {
  Client client(world.port);
  client.Get(path, key);
  const Answer answer = client.Read();
  EXPECT_EQ(answer.status, 404);
  std::string message = answer.Error("message");
  EXPECT_EQ(message.find('\n'), std::string::npos);
  return message;
}

TEST(Http, AWrongPathSuggestsTheRightOne) {
  World world;
  const std::pair<const char*, const char*> kPaths[] = {
      {"/chat/completions", "did you forget /v1? The path is /v1/chat/completions"},
      {"/models", "did you forget /v1? The path is /v1/models"},
      {"/models/tiny", "did you forget /v1? The path is /v1/models/tiny"},
      {"/v1//models", "did you mean /v1/models?"},
      {"/v1/v1/models", "did you mean /v1/models?"},
      {"//v1/chat/completions", "did you mean /v1/chat/completions?"},
      {"/openai/v1/chat/completions", "did you mean /v1/chat/completions?"},
      {"/v1/chat/completion", "did you mean /v1/chat/completions?"},
      {"/v1/model", "did you mean /v1/models?"}};
  for (const auto& [path, hint] : kPaths) {
    for (const char* key : {"key-a", "operator", ""})
      EXPECT_NE(MessageFor(world, path, key).find(hint), std::string::npos) << MessageFor(world, path, key);
  }
  EXPECT_EQ(MessageFor(world, "/something/else/altogether", "key-a").find("did you"), std::string::npos);
}

TEST(Http, AWrongPathListsOnlyWhatTheCallerMayUse) {
  World world;
  EXPECT_NE(MessageFor(world, "/x", "operator").find("/admin/v1/teams"), std::string::npos);
  EXPECT_EQ(MessageFor(world, "/x", "key-a").find("/admin/v1/teams"), std::string::npos);
  EXPECT_NE(MessageFor(world, "/x", "key-a").find("/v1/models"), std::string::npos);
  EXPECT_EQ(MessageFor(world, "/x", "").find("/v1/"), std::string::npos);
  EXPECT_EQ(MessageFor(world, "/x", "wrong").find("/v1/"), std::string::npos);
}

}  // namespace
}  // namespace penstock::gateway
