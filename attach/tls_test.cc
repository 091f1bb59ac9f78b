// Upstreams behind TLS: whom Penstock believes, what it says of the others, and that all else is as without.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "attach/test_authority.h"
#include "attach/testing.h"
#include "attach/trust.h"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::HasSubstr;

class Tls : public ::testing::Test {
 protected:
  Tls() { std::filesystem::create_directories(folder_); }
  ~Tls() override {
    unsetenv("SSL_CERT_FILE");
    std::filesystem::remove_all(folder_);
  }

  std::string File(const std::string& text) {
    const std::string path = folder_ + "/" + std::to_string(++files_) + ".pem";
    std::ofstream(path) << text;
    return path;
  }
  static FakeUpstream::Manners Showing(const Authority::Issued& issued) {
    FakeUpstream::Manners manners;
    manners.certificate = issued.certificate;
    manners.key = issued.key;
    return manners;
  }
  // `authorities`: a file; empty: the system's.
  static std::shared_ptr<Upstream> Reach(uint16_t port, const std::string& authorities,
                                         const std::string& host = "https://127.0.0.1") {
    return std::make_shared<Upstream>(*ParseUrl(host + ":" + std::to_string(port)), "",
                                      *Trust::In(authorities));
  }
  // What a request to a server that shows this certificate comes to: "" if it is answered.
  static std::string Trying(const Authority::Issued& issued, const std::string& authorities,
                            const std::string& host = "https://127.0.0.1") {
    FakeUpstream upstream(Showing(issued));
    return Trying(Reach(upstream.port(), authorities, host));
  }
  static std::string Trying(const std::shared_ptr<Upstream>& upstream) {
    boost::asio::io_context io;
    std::string said = "nothing";
    boost::asio::co_spawn(
        io,
        [&]() -> boost::asio::awaitable<void> {
          const auto got = co_await upstream->Fetch("/v1/models", "");
          said = got ? "" : got.error().message;
        },
        boost::asio::detached);
    io.run();
    upstream->CloseIdle();  // a connection does not outlive its io_context
    return said;
  }

  const Authority ours_{"Acme Root CA"};
  const std::string folder_ =
      (std::filesystem::temp_directory_path() / ("penstock-tls" + std::to_string(getpid()))).string();
  int files_ = 0;
};

TEST_F(Tls, AServerIsBelievedForWhomTheNamedAuthorityVouches) {
  const auto server = ours_.Issue({});
  const std::string file = File(ours_.certificate());
  EXPECT_EQ(Trying(server, file), "");
  EXPECT_EQ(Trying(server, file, "https://localhost"), "");
  EXPECT_EQ(Trying(server, File(Authority("Other").certificate() + ours_.certificate())), "");
}

TEST_F(Tls, TheSystemsAuthoritiesAreBelievedUnlessOthersAreNamed) {
  const auto server = ours_.Issue({});
  EXPECT_THAT(Trying(server, ""),
              AllOf(HasSubstr("issued by 'Acme Root CA', a CA that this machine's list does not "
                              "include"),
                    HasSubstr("set engine.url_ca")));
  setenv("SSL_CERT_FILE", File(ours_.certificate()).c_str(), 1);
  EXPECT_EQ(Trying(server, ""), "");
  const std::string other = File(Authority("Other").certificate());
  EXPECT_THAT(Trying(server, other), HasSubstr("a CA that " + other + " does not include"));
}

TEST_F(Tls, AChainIsFollowedAsFarAsTheServerSendsIt) {
  const Authority middle("Acme Machines", &ours_);
  const std::string file = File(ours_.certificate());
  auto server = middle.Issue({});
  EXPECT_THAT(Trying(server, file), AllOf(HasSubstr("'Acme Machines'"), HasSubstr("its complete chain")));
  EXPECT_EQ(Trying(server, File(middle.certificate())), "") << "an authority below the root can be named";
  server.certificate += middle.certificate();
  EXPECT_EQ(Trying(server, file), "");
}

TEST_F(Tls, ACertificateThatSignedItselfIsBelievedWhereItIsNamed) {
  const auto alone = Authority::SelfSigned();
  EXPECT_THAT(Trying(alone, ""), AllOf(HasSubstr("not trusted (self-signed)"), HasSubstr("engine.url_ca")));
  EXPECT_THAT(Trying(alone, File(ours_.certificate())), HasSubstr("not trusted (self-signed)"));
  EXPECT_EQ(Trying(alone, File(alone.certificate)), "");
}

TEST_F(Tls, WhoeverIsNotBelievedIsToldInWordsWithTheWayOut) {
  const std::string file = File(ours_.certificate());
  struct Row {
    Authority::Wanted wanted;
    std::string why, way_out;
  };
  const std::vector<Row> rows = {
      {{.hosts = "DNS:gpu7.acme,IP:10.0.0.7"},
       "is for gpu7.acme, 10.0.0.7, not for 127.0.0.1",
       "use a name that the certificate contains"},
      {{.from_day = -30, .to_day = -2}, "its certificate expired on 20", "renew it"},
      {{.from_day = 2, .to_day = 30}, "its certificate is valid from 20", "this machine's clock says 20"},
  };
  for (const Row& row : rows) {
    FakeUpstream upstream(Showing(ours_.Issue(row.wanted)));
    Cloud cloud(Reach(upstream.port(), file));
    ASSERT_TRUE(cloud.LoadAndWait(wire::ModelState::FAILED));
    cloud.RunUntil([&] { return !cloud.state_.error().text().empty(); });
    const std::string where =
        "engine attached: the upstream at https://127.0.0.1:" + std::to_string(upstream.port()) + ": ";
    EXPECT_THAT(cloud.state_.error().text(),
                AllOf(HasSubstr(where), HasSubstr(row.why), HasSubstr(row.way_out)));
  }
  EXPECT_THAT(Trying(ours_.Issue({.hosts = "IP:127.0.0.1"}), file, "https://localhost"),
              HasSubstr("is for 127.0.0.1, not for localhost"));
}

TEST_F(Tls, WhoSpeaksTheOtherProtocolIsTold) {
  boost::asio::io_context io;
  boost::asio::ip::tcp::acceptor plain(io, {boost::asio::ip::address_v4::loopback(), 0});
  std::thread thread([&] {
    auto socket = plain.accept();
    std::array<char, 8> bytes{};
    socket.read_some(boost::asio::buffer(bytes));
    boost::asio::write(socket, boost::asio::buffer(std::string("HTTP/1.1 400 Bad Request\r\n\r\n")));
  });
  EXPECT_THAT(Trying(Reach(plain.local_endpoint().port(), "")), HasSubstr("begin its URL with http://"));
  thread.join();
  FakeUpstream tls(Showing(ours_.Issue({})));
  EXPECT_THAT(Trying(Reach(tls.port(), "", "http://127.0.0.1")), HasSubstr("begin its URL with https://"));
}

TEST_F(Tls, AServerThatNeverShakesHandsIsGivenUp) {
  boost::asio::io_context io;
  boost::asio::ip::tcp::acceptor silent(io, {boost::asio::ip::address_v4::loopback(), 0});
  const auto trust = *Trust::In("");
  std::string said;
  boost::asio::co_spawn(
      io,
      [&]() -> boost::asio::awaitable<void> {
        const Url url = *ParseUrl("https://127.0.0.1:" + std::to_string(silent.local_endpoint().port()));
        const auto stream = co_await Connect(url, trust.get(), 50 * kMillisecond);
        said = stream ? "" : stream.error().message;
      },
      boost::asio::detached);
  io.run();
  EXPECT_THAT(said, HasSubstr("no answer in time"));
}

TEST_F(Tls, AFileThatHoldsNoAuthorityIsNamed) {
  for (const std::string& file : {folder_ + "/nowhere.pem", File("no certificate")}) {
    const auto trust = Trust::In(file);
    ASSERT_FALSE(trust);
    EXPECT_EQ(trust.error().code, Code::kInvalid);
    EXPECT_THAT(trust.error().message, HasSubstr("engine.url_ca: " + file));
  }
}

TEST_F(Tls, StreamsCancelsAndReconnectsAreAsWithout) {
  FakeUpstream::Manners manners = Showing(ours_.Issue({}));
  manners.pace = 2ms;
  auto upstream = std::make_unique<FakeUpstream>(manners);
  const uint16_t port = upstream->port();
  Cloud cloud(Reach(port, File(ours_.certificate())));
  ASSERT_TRUE(cloud.LoadAndWait());
  EXPECT_EQ(cloud.Run(cloud.Ask(1, 30)).text, "abcdefghijklmnopqrstuvwxyzabcd");

  cloud.Send(cloud.Ask(2, 5000));
  Heard& heard = cloud.heard_[{2, 0}];
  ASSERT_TRUE(cloud.RunUntil([&] { return heard.tokens > 3; })) << "it comes as it is made";
  wire::ToEngine cancel;
  cancel.mutable_cancel()->set_request(2);
  cloud.driver_.Handle(cancel);
  ASSERT_TRUE(cloud.RunUntil([&] { return heard.finish == wire::CANCELLED; }));
  EXPECT_TRUE(cloud.RunUntil([&] { return upstream->broken() == 1; }));

  cloud.Send(cloud.Ask(3, 5000));
  ASSERT_TRUE(cloud.RunUntil([&] { return cloud.heard_[{3, 0}].tokens > 3; }));
  upstream.reset();
  ASSERT_TRUE(cloud.RunUntil([&] { return cloud.heard_[{3, 0}].finish == wire::ERROR; }));
  ASSERT_TRUE(cloud.RunUntil([&] { return cloud.state_.state() == wire::ModelState::FAILED; }));
  // Its certificate was renewed meanwhile.
  const auto renewed = ours_.Issue({});
  manners.certificate = renewed.certificate;
  manners.key = renewed.key;
  upstream = std::make_unique<FakeUpstream>(manners, port);
  ASSERT_TRUE(cloud.RunUntil([&] { return cloud.state_.state() == wire::ModelState::READY; }));
  EXPECT_EQ(cloud.Run(cloud.Ask(4, 3)).text, "abc");
}

}  // namespace
}  // namespace penstock
