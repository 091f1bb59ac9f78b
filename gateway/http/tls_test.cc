#include "gateway/http/tls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gateway/http/certificate.h"
#include "gateway/testing.h"
#include "teams/testing.h"

namespace penstock::gateway {
namespace {

using penstock::testing::TempDir;
using penstock::testing::WriteFile;
using testing::Answer;
using testing::Chat;
using testing::Client;
using ::testing::HasSubstr;
using testing::ReadStream;
using testing::World;

constexpr std::string_view kChat = "/v1/chat/completions";

// A certificate and its key in a directory that goes away.
struct Files {
  Files() {
    const SelfSigned made = *MakeSelfSigned({"localhost", "127.0.0.1", "::1"});
    WriteFile(certificate, made.certificate);
    WriteFile(key, made.key);
  }
  TempDir dir;
  std::string certificate = dir.path + "/cert.pem", key = dir.path + "/key.pem";
};

class Tls : public ::testing::Test {
 protected:
  GatewayOptions Options() const {
    GatewayOptions options;
    options.tls_certificate = files_.certificate;
    options.tls_key = files_.key;
    return options;
  }
  static Client Connect(const World& world, int receive_buffer = 0) {
    Client client(world.port, receive_buffer);
    EXPECT_TRUE(client.StartTls());
    return client;
  }
  const Files files_;
};

TEST_F(Tls, CarriesRequestsStreamsAndPipelinesAsPlainHttpDoes) {
  World world(Options());
  world.Do([&] { world.fleet.AnswerWith({"Hel", "lo"}); });
  Client client = Connect(world);
  for (int i = 0; i < 3; ++i) {
    client.Get("/livez");
    EXPECT_EQ(client.Read().body, "ok\n");
  }
  client.Post(kChat, Chat(R"(,"stream":true)"));
  EXPECT_TRUE(ReadStream(client).done);
  client.Post(kChat, Chat());
  client.Get("/readyz");
  EXPECT_EQ(client.Read().status, 200);
  EXPECT_EQ(client.Read().body, "ready\n");
}

TEST_F(Tls, TakesABodyOfManyRecordsAndGivesOne) {
  World world(Options());
  world.Do([&] { world.fleet.AnswerWith({std::string(300'000, 'x')}); });
  Client client = Connect(world);
  client.Post(kChat, R"({"model":"tiny","messages":[{"role":"user","content":")" + std::string(200, 'a') +
                         R"("}],"metadata":{"a":")" + std::string(400'000, 'b') + R"("}})");
  const Answer answer = client.Read();
  EXPECT_EQ(answer.status, 200) << answer.body.substr(0, 200);
  EXPECT_THAT(answer.body, HasSubstr(std::string(300'000, 'x')));
}

TEST_F(Tls, ASlowReaderIsBilledForWhatTheSocketTookAndLosesNothing) {
  World world(Options());
  Client slow(world.port, 4096);
  ASSERT_TRUE(slow.StartTls());
  slow.Post(kChat, Chat(R"(,"stream":true)"));
  const std::string id = slow.ReadHead().headers.at("x-request-id");
  constexpr int kEvents = 200, kSize = 40'000;  // each of several records
  for (int i = 0; i < kEvents; ++i) {
    world.Do([&] { world.fleet.Emit(1, std::string(kSize, static_cast<char>('a' + i % 26))); });
  }
  EXPECT_LT(world.Record(id).usage.billed, kEvents);
  world.Do([&] { world.fleet.Emit(1, "", 0, wire::STOP); });
  std::string body;
  for (std::string chunk = slow.ReadChunk(); !chunk.empty(); chunk = slow.ReadChunk()) body += chunk;
  EXPECT_TRUE(slow.complete);
  std::string text, want;
  for (const auto& event : testing::Events(body)) {
    const auto& delta = event.at("choices").at(0).at("delta").as_object();
    if (const auto* content = delta.if_contains("content")) text += testing::Text(*content);
  }
  for (int i = 0; i < kEvents; ++i) want += std::string(kSize, static_cast<char>('a' + i % 26));
  EXPECT_TRUE(text == want) << text.size() << " bytes of " << want.size();
  EXPECT_TRUE(world.Eventually([&] { return world.accounts.records[id].record.usage.billed == kEvents; }));
}

TEST_F(Tls, AReaderThatTakesNothingForTooLongIsCut) {
  GatewayOptions options = Options();
  options.write_timeout = 100 * kMillisecond;
  World world(options);
  Client slow(world.port, 4096);
  ASSERT_TRUE(slow.StartTls());
  slow.Post(kChat, Chat(R"(,"stream":true)"));
  const std::string id = slow.ReadHead().headers.at("x-request-id");
  for (int i = 0; i < 200; ++i) world.Do([&] { world.fleet.Emit(1, std::string(8000, 'x')); });
  EXPECT_TRUE(world.Eventually([&] { return world.fleet.jobs[1].cancelled; }));
  EXPECT_EQ(world.Record(id).outcome, "cancelled");
  EXPECT_LT(world.Record(id).usage.billed, 200);
}

TEST_F(Tls, AClientThatLeavesStopsItsGeneration) {
  World world(Options());
  const auto leaves = [&](JobId job, const std::function<void(Client&)>& leave) {
    Client client = Connect(world);
    client.Post(kChat, Chat(R"(,"stream":true)"));
    const std::string id = client.ReadHead().headers.at("x-request-id");
    world.Do([&] { world.fleet.Emit(job, "abc", 3); });
    client.ReadUntil("abc");
    leave(client);
    EXPECT_TRUE(world.Eventually([&] { return world.fleet.jobs[job].cancelled; }));
    EXPECT_EQ(world.Record(id).usage.billed, 3);
  };
  leaves(1, [](Client& client) { client.Close(); });
  leaves(2, [](Client& client) { SSL_shutdown(client.tls()); });        // says so, keeps the socket
  leaves(3, [](Client& client) { ::shutdown(client.fd(), SHUT_WR); });  // half closed, unsaid
  leaves(4, [](Client& client) {                                        // cut off in the middle of a record
    ::send(client.fd(), "\x17\x03\x03\x01\x00half", 9, MSG_NOSIGNAL);
    client.Close();
  });
}

TEST_F(Tls, PlainHttpIsToldToUseHttps) {
  World world(Options());
  Client client(world.port);
  client.Get("/livez");
  const Answer answer = client.Read();
  EXPECT_EQ(answer.status, 400);
  EXPECT_THAT(answer.Error("message"), HasSubstr("https://"));
  EXPECT_TRUE(client.AtEnd());
}

TEST_F(Tls, GarbageThatLooksLikeAHandshakeIsCutOff) {
  World world(Options());
  for (const std::string_view bytes : {std::string_view("\x16\x03\x01\x00\x05hello", 10),
                                       std::string_view("\x16\x16\x16\x16\x16\x16\x16\x16", 8),
                                       std::string_view("\x16\x03\x03\xff\xff", 5)}) {
    Client client(world.port);
    client.Send(bytes);
    client.ReadUntil("never");  // an alert, perhaps, and the end
    EXPECT_TRUE(client.AtEnd());
  }
  EXPECT_TRUE(world.Eventually([&] { return world.wiring.status.connections() == 0; }));
}

TEST_F(Tls, AHandshakeThatDoesNotComeInTimeIsCutOff) {
  GatewayOptions options = Options();
  options.header_timeout = 50 * kMillisecond;
  World world(options);
  Client silent(world.port), half(world.port);
  half.Send(std::string_view("\x16\x03\x01\x02\x00\x01", 6));
  EXPECT_TRUE(silent.AtEnd());
  EXPECT_TRUE(half.AtEnd());
}

TEST_F(Tls, AHandshakeThatComesByteByByteIsTaken) {
  World world(Options());
  // The client's bytes pass through memory, and each is sent by itself.
  Client wire(world.port);
  SSL_CTX* const context = SSL_CTX_new(TLS_client_method());
  SSL* const ssl = SSL_new(context);
  SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  SSL_set_connect_state(ssl);
  const auto flush = [&] {
    char c = 0;
    while (BIO_read(SSL_get_wbio(ssl), &c, 1) == 1) wire.Send({&c, 1});
  };
  const auto fill = [&] {
    char bytes[4096];
    const ssize_t got = ::recv(wire.fd(), bytes, sizeof bytes, 0);
    if (got > 0) BIO_write(SSL_get_rbio(ssl), bytes, static_cast<int>(got));
    return got > 0;
  };
  while (SSL_do_handshake(ssl) != 1) {
    flush();
    ASSERT_TRUE(fill());
  }
  const std::string_view request = "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
  ASSERT_EQ(SSL_write(ssl, request.data(), static_cast<int>(request.size())),
            static_cast<int>(request.size()));
  flush();
  char answer[4096];
  int got = 0;
  while ((got = SSL_read(ssl, answer, sizeof answer)) <= 0) ASSERT_TRUE(fill());
  EXPECT_THAT(std::string(answer, static_cast<size_t>(got)), HasSubstr("ok\n"));
  SSL_free(ssl);
  SSL_CTX_free(context);
}

TEST_F(Tls, VersionsBefore12AreRefused) {
  World world(Options());
  Client old(world.port), modern(world.port);
  EXPECT_FALSE(old.StartTls(TLS1_1_VERSION));
  EXPECT_TRUE(modern.StartTls(TLS1_2_VERSION));
}

TEST_F(Tls, AGracefulStopClosesConnectionsThatShakeHandsOrIdle) {
  World world(Options());
  Client silent(world.port);
  Client idle = Connect(world);
  idle.Get("/livez");
  idle.Read();
  world.StopAccepting();
  EXPECT_TRUE(idle.AtEnd());
  EXPECT_TRUE(silent.AtEnd());
}

TEST(TlsContext, SaysWhatIsWrongWithAFile) {
  const Files files, others;
  const auto error = [](const std::string& certificate, const std::string& key) {
    const auto loaded = TlsContext::Load(certificate, key);
    return loaded ? "" : loaded.error().message;
  };
  EXPECT_EQ(error(files.certificate, files.key), "");
  EXPECT_THAT(error("/nowhere.pem", files.key), HasSubstr("/nowhere.pem cannot be used (No such file"));
  EXPECT_THAT(error(files.certificate, "/nowhere.pem"), HasSubstr("/nowhere.pem"));
  EXPECT_THAT(error(files.key, files.key), HasSubstr("certificate " + files.key));
  EXPECT_THAT(error(files.certificate, others.key), HasSubstr(others.key));
}

TEST(Certificates, HaveFingerprintsThatPeopleCompare) {
  const Certificate one = *ReadCertificate(MakeSelfSigned({"a"})->certificate);
  const Certificate other = *ReadCertificate(MakeSelfSigned({"a"})->certificate);
  EXPECT_EQ(one.fingerprint.size(), 32 * 3 - 1);
  EXPECT_NE(one.fingerprint, other.fingerprint);
  EXPECT_NE(one.pin, other.pin);
  std::string typed = "sha256:";
  for (const char c : one.fingerprint) {
    if (c != ':') typed += static_cast<char>(std::tolower(c));
  }
  EXPECT_TRUE(SameFingerprint(one.fingerprint, typed));
  EXPECT_FALSE(SameFingerprint(one.fingerprint, other.fingerprint));
  EXPECT_FALSE(SameFingerprint(one.fingerprint, one.fingerprint.substr(3)));
  EXPECT_FALSE(SameFingerprint("", "")) << "nothing is no fingerprint";
  EXPECT_FALSE(ReadCertificate("-----BEGIN"));
}

// ---- what is offered ----

bool HandshakeWith(const World& world, const char* ciphers) {
  Client client(world.port);
  return client.StartTls(TLS1_2_VERSION, ciphers);
}

TEST_F(Tls, NoCbcSuiteIsAccepted) {
  World world(Options());
  for (const char* suite :
       {"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"})
    EXPECT_TRUE(HandshakeWith(world, suite)) << suite;
  for (const char* suite : {"ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA", "ECDHE-ECDSA-AES128-SHA256",
                            "ECDHE-ECDSA-AES256-SHA384", "ECDHE-ECDSA-CAMELLIA128-SHA256"})
    EXPECT_FALSE(HandshakeWith(world, suite)) << suite;
}

TEST_F(Tls, BrowsersAreToldToStayWithIt) {
  GatewayOptions options = Options();
  {
    World world(options);
    Client client = Connect(world);
    client.Send(
        "GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\nGET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n");
    EXPECT_EQ(client.Read().headers.at("strict-transport-security"), "max-age=31536000");
    EXPECT_FALSE(client.Read().headers.contains("strict-transport-security"))
        << "other programs share this name";
  }
  options.hsts = 0;
  World world(options);
  Client client = Connect(world);
  client.Send("GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
  EXPECT_FALSE(client.Read().headers.contains("strict-transport-security"));
}

}  // namespace
}  // namespace penstock::gateway
