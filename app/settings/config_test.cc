#include "app/settings/config.h"
#include "app/settings/page.h"
#include "app/settings/table.h"
#include "app/settings/units.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace penstock {
namespace {

std::map<std::string, std::string> g_environment;
const char* Environment(const char* name) {
  const auto found = g_environment.find(name);
  return found == g_environment.end() ? nullptr : found->second.c_str();
}

class ConfigTest : public testing::Test {
 protected:
  ConfigTest() {
    char folder[] = "/tmp/penstock-config-XXXXXX";
    folder_ = mkdtemp(folder);
    g_environment = {{"HOME", "/home/somebody"}};
    input_.environment = Environment;
  }
  ~ConfigTest() override { std::filesystem::remove_all(folder_); }

  void WriteFile(const std::string& text) {
    input_.file = folder_ + "/penstock.toml";
    std::ofstream(input_.file) << text;
  }
  std::string ErrorOf() {
    const auto loaded = LoadConfig(input_);
    return loaded.has_value() ? "" : loaded.error().message;
  }

  std::string folder_;
  ConfigInput input_;
};

TEST_F(ConfigTest, FlagsOverrideEnvironmentOverridesFileOverridesDefaults) {
  const auto listen = [&] { return LoadConfig(input_)->config.gateway.listen; };
  WriteFile("");
  EXPECT_EQ(listen(), "127.0.0.1:8700");
  WriteFile("listen = \"0.0.0.0:1\"");
  EXPECT_EQ(listen(), "0.0.0.0:1");
  g_environment["PENSTOCK_LISTEN"] = "0.0.0.0:2";
  EXPECT_EQ(listen(), "0.0.0.0:2");
  input_.flags["listen"] = "0.0.0.0:3";
  EXPECT_EQ(listen(), "0.0.0.0:3");
  EXPECT_EQ(LoadConfig(input_)->source["listen"], "flag");
}

TEST_F(ConfigTest, TablesUnitsAndListsAreRead) {
  WriteFile(
      "[gateway]\nmax_body = \"2MiB\"\ndrain_timeout = \"10m\"\n[engine]\nprefix_cache = false\nstep_tokens "
      "= 256\n"
      "[pull]\nmirrors = [\"http://a\", \"http://b\"]\n");
  const auto loaded = LoadConfig(input_);
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
  EXPECT_EQ(loaded->config.gateway.max_body_bytes, 2U << 20);
  EXPECT_EQ(loaded->config.gateway.drain_timeout, 600 * kSecond);
  EXPECT_FALSE(loaded->config.engine.prefix_cache);
  EXPECT_EQ(loaded->config.engine.step_tokens, 256);
  EXPECT_EQ(loaded->config.pull.mirrors, (std::vector<std::string>{"http://a", "http://b"}));
}

TEST_F(ConfigTest, TheHubsOwnVariableIsHonouredAfterOurs) {
  g_environment["HF_ENDPOINT"] = "http://mirror";
  EXPECT_EQ(LoadConfig(input_)->config.pull.hub, "http://mirror");
  g_environment["PENSTOCK_PULL_HUB"] = "http://ours";
  EXPECT_EQ(LoadConfig(input_)->config.pull.hub, "http://ours");
}

TEST_F(ConfigTest, AnErrorNamesThePlaceTheSettingAndTheExpectedValue) {
  WriteFile("\n[gateway]\nmax_bdy = 1\n");
  EXPECT_TRUE(ErrorOf().contains("penstock.toml:3")) << ErrorOf();
  EXPECT_TRUE(ErrorOf().contains("gateway.max_body")) << ErrorOf();
  WriteFile("listen = \"8700\"");
  EXPECT_TRUE(ErrorOf().contains("HOST:PORT")) << ErrorOf();
  WriteFile("listen = ");
  EXPECT_TRUE(ErrorOf().contains("penstock.toml:1")) << ErrorOf();
  WriteFile("");
  g_environment["PENSTOCK_ENGINE_STEP_TOKENS"] = "many";
  EXPECT_TRUE(ErrorOf().contains("PENSTOCK_ENGINE_STEP_TOKENS")) << ErrorOf();
}

TEST_F(ConfigTest, AFileThatWasNamedMustExist) {
  input_.file = folder_ + "/nowhere.toml";
  EXPECT_TRUE(ErrorOf().contains("nowhere.toml"));
}

TEST_F(ConfigTest, AChildGetsWhatItsParentHasButNoSecrets) {
  input_.flags = {{"engine.memory", "3GiB"}, {"key", "sk-secret"}, {"gateway.queue_timeout", "1500ms"}};
  const auto flags = AsFlags(*LoadConfig(input_));
  EXPECT_EQ(flags, (std::vector<std::string>{"--set", "gateway.queue_timeout=1500ms", "--set",
                                             "engine.memory=3GiB"}));
}

TEST_F(ConfigTest, EverySettingReadsBackWhatItShows) {
  const Config defaults;
  for (const auto& setting : Settings()) {
    Config other;
    EXPECT_TRUE(setting.parse(other, setting.show(defaults)).has_value()) << setting.name;
    EXPECT_EQ(setting.show(other), setting.show(defaults)) << setting.name;
  }
}

TEST_F(ConfigTest, ALimitThatWouldLockOperatorsOutIsRefused) {
  WriteFile("[gateway]\nmax_body = 1\n");
  EXPECT_TRUE(ErrorOf().contains("gateway.max_body must be at least 4KiB, not '1'")) << ErrorOf();
  WriteFile("[gateway]\nmax_connections = 0\n");
  EXPECT_TRUE(ErrorOf().contains("gateway.max_connections must be at least 16")) << ErrorOf();
  WriteFile("[gateway]\nbody_timeout = '10ms'\n");
  EXPECT_TRUE(ErrorOf().contains("gateway.body_timeout must be at least 1s")) << ErrorOf();
}

TEST_F(ConfigTest, TheFakeRunnerMayBePacedAndAnUnknownPaceIsRefused) {
  WriteFile("[engine]\nrunner = 'fake?step_ms=20&paced=1'\n");
  EXPECT_EQ(LoadConfig(input_)->config.runner, "fake?step_ms=20&paced=1");
  WriteFile("[engine]\nrunner = 'fake?speed=9'\n");
  EXPECT_NE(ErrorOf().find("speed=9"), std::string::npos);
  WriteFile("[engine]\nrunner = 'faker'\n");
  EXPECT_NE(ErrorOf().find("native, ggml, fake"), std::string::npos);
}

TEST_F(ConfigTest, EachTableUnderEnginesIsAnEngineAndAnEmptyOneIsToo) {
  WriteFile("[engines.left]\ncores = '0-3'\nmodels = ['a', 'b']\n[engines.right]\n");
  input_.flags["engines.left.memory"] = "2GiB";
  const auto loaded = LoadConfig(input_);
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
  const auto& engines = loaded->config.engines;
  ASSERT_EQ(engines.size(), 2U);
  EXPECT_EQ(engines.at("left"),
            (std::map<std::string, std::string>{
                {"engine.cores", "0-3"}, {"engine.memory", "2GiB"}, {"engine.models", "a,b"}}));
  EXPECT_TRUE(engines.at("right").empty());
  EXPECT_EQ(loaded->source.at("engines.left.memory"), "flag");
  EXPECT_TRUE(loaded->config.Runs("native"));
  EXPECT_FALSE(loaded->config.Runs("ggml"));
  input_.flags["engines.right.runner"] = "ggml";
  EXPECT_TRUE(LoadConfig(input_)->config.Runs("ggml"));
}

TEST_F(ConfigTest, AWrongWordInAnEnginesTableNamesItAndTheNearest) {
  WriteFile("[engines.left]\nruner = 'ggml'\n");
  EXPECT_TRUE(ErrorOf().contains("penstock.toml:2: engines.left.runer")) << ErrorOf();
  EXPECT_TRUE(ErrorOf().contains("did you mean 'runner'")) << ErrorOf();
  WriteFile("[engines.left]\ncores = '3-1'\n");
  EXPECT_TRUE(ErrorOf().contains("engines.left.cores must be cores such as 0-3,8")) << ErrorOf();
  WriteFile("[engines.left]\nquota = '0%'\n");
  EXPECT_TRUE(ErrorOf().contains("engines.left.quota must be at least 1% of a core")) << ErrorOf();
  WriteFile("[engines.left]\nlaunch = 'serve'\n");
  EXPECT_TRUE(ErrorOf().contains("engines.left.launch must be a command with {port}")) << ErrorOf();
  WriteFile("[engines]\nrunner = 'ggml'\n");
  EXPECT_TRUE(ErrorOf().contains("[engines.NAME]")) << ErrorOf();
  WriteFile("[engines.'a b']\n");
  EXPECT_TRUE(ErrorOf().contains("letters, digits")) << ErrorOf();
  WriteFile("[engines.a]\n[engines.b]\n[engines.a]\n");
  EXPECT_TRUE(ErrorOf().contains("penstock.toml:3")) << ErrorOf();
}

TEST(ConfigUnits, CoresAreReadAndShownAsRuns) {
  EXPECT_EQ(ParseCoreList("8,0-3,2").value(), (std::vector<int>{0, 1, 2, 3, 8}));
  EXPECT_EQ(ShowCoreList({0, 1, 2, 3, 8}), "0-3,8");
  EXPECT_EQ(ParseShare("150%").value(), 1.5);
  EXPECT_EQ(ParseShare("0.5").value(), 0.5);
  for (const char* wrong : {"a", "1-", "-1", "1-0", "0-99999999"}) {
    EXPECT_FALSE(ParseCoreList(wrong).has_value()) << wrong;
  }
  for (const char* wrong : {"-1", "half", "0.001", "1e9%"})
    EXPECT_FALSE(ParseShare(wrong).has_value()) << wrong;
}

TEST(ConfigUnits, SizesAndTimesAreReadExactlyOrRefused) {
  EXPECT_EQ(ParseBytes("16MiB").value(), 16U << 20);
  EXPECT_EQ(ParseBytes("1.5 GB").value(), 1'500'000'000U);
  EXPECT_EQ(ParseDuration("500ms").value(), 500 * kMillisecond);
  EXPECT_EQ(ParseDuration("2").value(), 2 * kSecond);
  for (const char* wrong : {"", "MiB", "-1", "1 parsec", "nan", "1e30"}) {
    EXPECT_FALSE(ParseBytes(wrong).has_value()) << wrong;
    EXPECT_FALSE(ParseDuration(wrong).has_value()) << wrong;
  }
}

TEST(ConfigUrl, ACloudOnEveryInterfaceIsFoundOnThisMachine) {
  Config config;
  EXPECT_EQ(config.BaseUrl(), "http://127.0.0.1:8700");
  config.gateway.listen = "0.0.0.0:9000";
  EXPECT_EQ(config.BaseUrl(), "http://127.0.0.1:9000");
  config.tls_self_signed = true;
  EXPECT_EQ(config.BaseUrl(), "https://127.0.0.1:9000");
  config.url = "https://cloud.example/";
  EXPECT_EQ(config.BaseUrl(), "https://cloud.example");
}

TEST(ConfigurationReference, ThePageIsWhatTheTableSays) {
  std::ifstream file(PENSTOCK_SOURCE_DIR "/docs/configuration.md");
  const std::string page{std::istreambuf_iterator<char>(file), {}};
  EXPECT_TRUE(page == ConfigurationPage())
      << "to regenerate it: penstock config --markdown > docs/configuration.md";
}

}  // namespace
}  // namespace penstock
