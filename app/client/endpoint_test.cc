#include "app/client/endpoint.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>

#include "app/common/data_dir.h"
#include "gateway/http/certificate.h"

namespace penstock {
namespace {

// With its own home and data directory; restores the environment variables.
class EndpointTest : public testing::Test {
 protected:
  EndpointTest() {
    char folder[] = "/tmp/penstock-place-XXXXXX";
    folder_ = mkdtemp(folder);
    if (const char* before = std::getenv("XDG_CONFIG_HOME")) before_ = before;
    setenv("XDG_CONFIG_HOME", (folder_ + "/config").c_str(), 1);
    config_.data = folder_ + "/data";
    std::filesystem::create_directories(config_.data);
    EXPECT_TRUE(WriteSecretFile(config_.data + "/operator.key", "sk-operator\n"));
  }
  ~EndpointTest() override {
    before_ ? setenv("XDG_CONFIG_HOME", before_->c_str(), 1) : unsetenv("XDG_CONFIG_HOME");
    std::filesystem::remove_all(folder_);
  }
  void LogIn(const std::string& url = "https://elsewhere:8700") const {
    ASSERT_TRUE(WriteLogin({.url = url, .pin = "sha256//abc", .token = "sk-token", .id = 7, .who = "ann"}));
  }
  Endpoint Find() const {
    const auto endpoint = FindEndpoint(config_);
    EXPECT_TRUE(endpoint.has_value());
    return endpoint.value_or(Endpoint{.url = "", .pin = "", .key = "", .who = ""});
  }

  std::string folder_;
  std::optional<std::string> before_;
  Config config_;
};

TEST_F(EndpointTest, WithoutALoginItIsTheCloudOfTheDataDirectory) {
  EXPECT_EQ(Find().url, "http://127.0.0.1:8700");
  EXPECT_EQ(Find().key, "sk-operator");
  const std::string file = config_.data + "/cert.pem", pem = MakeSelfSigned({"localhost"})->certificate;
  ASSERT_TRUE(WriteFileAtomically(file, pem));
  ASSERT_TRUE(WriteNote(config_.data, {.url = "https://127.0.0.1:9000", .certificate = file}));
  EXPECT_EQ(Find().url, "https://127.0.0.1:9000") << "the URL that `penstock up` recorded";
  EXPECT_EQ(Find().pin, ReadCertificate(pem)->pin);
  RemoveNote(config_.data);
  EXPECT_EQ(Find().url, "http://127.0.0.1:8700");
}

TEST_F(EndpointTest, ALoginPrecedesTheDefaultDataDirectoryButNotANamedOne) {
  LogIn();
  EXPECT_TRUE(Find().login);
  EXPECT_EQ(Find().url, "https://elsewhere:8700");
  EXPECT_EQ(Find().key, "sk-token");
  EXPECT_EQ(Find().pin, "sha256//abc");
  config_.data_named = true;
  EXPECT_FALSE(Find().login) << "the user named that directory's cloud";
  EXPECT_EQ(Find().key, "sk-operator");
  config_.data_named = false;
  config_.url = "http://127.0.0.1:9";
  EXPECT_FALSE(Find().login);
  EXPECT_EQ(Find().url, "http://127.0.0.1:9");
  config_.url = "https://elsewhere:8700/";
  EXPECT_EQ(Find().key, "sk-token") << "the same URL, written out";
  config_.key = "sk-mine";
  EXPECT_EQ(Find().key, "sk-mine");
  EXPECT_EQ(Find().pin, "sha256//abc") << "with any key, it must be the same cloud";
  EXPECT_FALSE(LocalEndpoint(Config{config_}).login);
}

TEST_F(EndpointTest, TheOperatorKeyIsNotSentToAnotherMachine) {
  config_.url = "https://elsewhere.example:8700";
  EXPECT_EQ(Find().key, "");
  config_.url = "http://localhost:8700";
  EXPECT_EQ(Find().key, "sk-operator");
}

TEST_F(EndpointTest, OnlyItsUserCanReadALogin) {
  LogIn();
  struct stat file{}, folder{};
  const std::string path = *LoginFile();
  ASSERT_EQ(stat(path.c_str(), &file), 0);
  ASSERT_EQ(stat(std::filesystem::path(path).parent_path().c_str(), &folder), 0);
  EXPECT_EQ(file.st_mode & 0777, 0600U);
  EXPECT_EQ(folder.st_mode & 0777, 0700U);
  ASSERT_TRUE(RemoveLogin());
  EXPECT_FALSE(*ReadLogin());
  EXPECT_TRUE(RemoveLogin()) << "a second time does no harm";
}

TEST_F(EndpointTest, ADamagedLoginIsReported) {
  LogIn();
  ASSERT_TRUE(WriteSecretFile(*LoginFile(), "{"));
  const auto endpoint = FindEndpoint(config_);
  ASSERT_FALSE(endpoint.has_value());
  EXPECT_TRUE(endpoint.error().message.contains("penstock logout")) << endpoint.error().message;
}

TEST(Hosts, AreReadFromUrlsAndLoopbackIsRecognised) {
  EXPECT_EQ(HostOf("https://cloud.example:8700/v1"), "cloud.example");
  EXPECT_EQ(HostOf("http://[::1]:8700"), "::1");
  EXPECT_EQ(HostOf("0.0.0.0:8700"), "0.0.0.0");
  EXPECT_EQ(HostOf("https://cloud.example"), "cloud.example");
  for (const char* host : {"127.0.0.1", "127.8.8.8", "::1", "localhost"})
    EXPECT_TRUE(IsLoopback(host)) << host;
  for (const char* host : {"0.0.0.0", "::", "192.168.1.1", "::ffff:10.0.0.1", "no such host"}) {
    EXPECT_FALSE(IsLoopback(host)) << host;
  }
}

}  // namespace
}  // namespace penstock
