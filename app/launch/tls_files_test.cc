#include "app/launch/tls_files.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "app/common/data_dir.h"
#include "gateway/http/tls.h"

namespace penstock {
namespace {

class TlsFilesTest : public testing::Test {
 protected:
  TlsFilesTest() {
    char folder[] = "/tmp/penstock-tls-XXXXXX";
    config_.data = mkdtemp(folder);
  }
  ~TlsFilesTest() override { std::filesystem::remove_all(config_.data); }
  std::string ErrorOf() const {
    const auto files = PrepareTls(config_);
    return files.has_value() ? "" : files.error().message;
  }
  Config config_;
};

TEST_F(TlsFilesTest, BeyondThisMachineTlsOrInsecureIsRequired) {
  EXPECT_EQ(ErrorOf(), "") << "loopback";
  for (const char* listen : {"0.0.0.0:8700", "[::]:8700", "192.168.1.5:8700"}) {
    config_.gateway.listen = listen;
    for (const char* way : {"--tls-self-signed", "--tls-cert", "--insecure"}) {
      EXPECT_TRUE(ErrorOf().contains(way)) << ErrorOf();
    }
  }
  config_.insecure = true;
  EXPECT_EQ(ErrorOf(), "");
  EXPECT_FALSE(PrepareTls(config_)->on());
  config_.insecure = false;
  config_.tls_self_signed = true;
  EXPECT_EQ(ErrorOf(), "");
}

TEST_F(TlsFilesTest, TheSelfSignedCertificateIsCreatedOnceAndOnlyItsOwnerReadsTheKey) {
  config_.tls_self_signed = true;
  const auto files = PrepareTls(config_);
  ASSERT_TRUE(files.has_value()) << files.error().message;
  EXPECT_TRUE(gateway::TlsContext::Load(files->certificate, files->key).has_value());
  struct stat key{};
  ASSERT_EQ(stat(files->key.c_str(), &key), 0);
  EXPECT_EQ(key.st_mode & 0777, 0600U);
  const std::string made = *ReadTextFile(files->certificate);
  ASSERT_TRUE(PrepareTls(config_).has_value());
  EXPECT_EQ(*ReadTextFile(files->certificate), made) << "clients have pinned it";
  std::filesystem::remove(files->key);
  ASSERT_TRUE(PrepareTls(config_).has_value());
  EXPECT_NE(*ReadTextFile(files->certificate), made) << "without its key it is useless";
  EXPECT_TRUE(gateway::TlsContext::Load(files->certificate, files->key).has_value());
}

TEST_F(TlsFilesTest, SettingsThatContradictAreRefused) {
  config_.tls_self_signed = true;
  config_.gateway.tls_certificate = "/x.pem";
  EXPECT_TRUE(ErrorOf().contains("choose one")) << ErrorOf();
  config_.tls_self_signed = false;
  EXPECT_TRUE(ErrorOf().contains("/x.pem")) << ErrorOf();
  config_.gateway.tls_certificate = "";
  config_.gateway.tls_key = "/y.pem";
  EXPECT_TRUE(ErrorOf().contains("--tls-cert")) << ErrorOf();
}

}  // namespace
}  // namespace penstock
