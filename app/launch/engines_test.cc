#include "app/launch/engines.h"
#include "app/settings/units.h"

#include <gtest/gtest.h>

namespace penstock {
namespace {

Premises EightCores() {
  return {.cores = {0, 1, 2, 3, 4, 5, 6, 7},
          .granted = {0, 1, 2, 3, 4, 5, 6, 7},
          .nodes = {{0, {0, 1, 2, 3}}, {1, {4, 5, 6, 7}}},
          .memory = 64ULL << 30,
          .memory_free = 50ULL << 30};
}

// {"left.cores", "0-3"}: as --set engines.left.cores=0-3; "memory" alone is engine.memory.
using Said = std::vector<std::pair<std::string, std::string>>;

Result<EnginePlans> Plan(const Said& said, const Premises& premises = EightCores()) {
  ConfigInput input;
  input.environment = [](const char*) -> const char* { return nullptr; };
  for (const auto& [name, value] : said) {
    input.flags[(name.contains('.') ? "engines." : "engine.") + name] = value;
  }
  PENSTOCK_ASSIGN(const LoadedConfig loaded, LoadConfig(input));
  return PlanEngines(loaded, premises);
}

std::string ErrorOf(const Said& said, const Premises& premises = EightCores()) {
  const auto plans = Plan(said, premises);
  return plans.has_value() ? "" : plans.error().message;
}

// "left=0-3 right=4-7"
std::string CoresOf(const Said& said, const Premises& premises = EightCores()) {
  const auto plans = Plan(said, premises);
  if (!plans.has_value()) return plans.error().message;
  std::string text;
  for (const auto& plan : plans->engines) {
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", plan.name, ShowCoreList(plan.cores));
  }
  return text;
}

TEST(Engines, WithoutATableThereIsOneThatIsNotBound) {
  const auto plans = Plan({{"memory", "3GiB"}});
  ASSERT_TRUE(plans.has_value());
  ASSERT_EQ(plans->engines.size(), 1U);
  EXPECT_EQ(plans->engines[0].name, "cpu0");
  EXPECT_EQ(plans->engines[0].Place(), "");
  EXPECT_EQ(plans->engines[0].loaded.config.engine.memory_bytes, 3ULL << 30);
}

TEST(Engines, AnEnginesTableOverridesTheEngineSettings) {
  const auto plans = Plan({{"step_tokens", "256"}, {"a.step_tokens", "64"}, {"b.runner", "fake"}});
  ASSERT_TRUE(plans.has_value());
  EXPECT_EQ(plans->engines[0].loaded.config.engine.step_tokens, 64);
  EXPECT_EQ(plans->engines[0].loaded.config.runner, "native");
  EXPECT_EQ(plans->engines[1].loaded.config.engine.step_tokens, 256);
  EXPECT_EQ(plans->engines[1].loaded.config.runner, "fake");
  const auto flags = AsFlags(plans->engines[0].loaded);
  EXPECT_EQ(flags, (std::vector<std::string>{"--set", "engine.step_tokens=64"}));
}

TEST(Engines, CoresThatNoEngineNamesAreDividedIntoEqualRanges) {
  EXPECT_EQ(CoresOf({{"a.runner", "native"}, {"b.runner", "native"}}), "a=0-3 b=4-7");
  EXPECT_EQ(CoresOf({{"a.runner", "native"}, {"b.cores", "0,7"}, {"c.runner", "fake"}}), "a=1-3 b=0,7 c=4-6");
  EXPECT_EQ(CoresOf({{"a.numa", "1"}, {"b.runner", "native"}}), "a=4-7 b=0-3");
}

TEST(Engines, AnEngineWithAQuotaGetsAsManyCoresTheLeastUsedFirst) {
  Premises two = EightCores();
  two.cores = two.granted = {0, 1};
  EXPECT_EQ(CoresOf({{"a.quota", "50%"}, {"b.quota", "0.5"}, {"c.quota", "30%"}}, two), "a=0 b=1 c=0");
  EXPECT_TRUE(Plan({{"a.quota", "50%"}, {"b.quota", "0.5"}, {"c.quota", "30%"}}, two)->warnings.empty());
  EXPECT_EQ(CoresOf({{"a.quota", "150%"}, {"b.runner", "native"}}), "a=0-1 b=2-7");
}

TEST(Engines, OneOnAGpuTakesNoCores) {
  EXPECT_EQ(CoresOf({{"gpu.runner", "ggml"}, {"gpu.ggml_device", "CUDA0"}, {"cpu.runner", "native"}}),
            "cpu=0-7 gpu=");
}

TEST(Engines, AnExternalServerTakesNeitherCoresNorMemory) {
  const Said said = {{"far.url", "http://127.0.0.1:9/v1"}, {"cpu.runner", "native"}};
  EXPECT_EQ(CoresOf(said), "cpu=0-7 far=");
  const auto plans = Plan(said);
  EXPECT_EQ(plans->engines[0].machine_memory, 45ULL << 30);
  EXPECT_EQ(plans->engines[1].machine_memory, 0U);
}

TEST(Engines, MoreEnginesThanCoresShareThemWithAWarning) {
  Premises two = EightCores();
  two.cores = two.granted = {0, 1};
  const Said three = {{"a.runner", "native"}, {"b.runner", "native"}, {"c.runner", "native"}};
  EXPECT_EQ(CoresOf(three, two), "a=0 b=1 c=0");
  ASSERT_EQ(Plan(three, two)->warnings.size(), 1U);
  EXPECT_TRUE(Plan(three, two)->warnings[0].contains("engines a, c share core 0"));
}

TEST(Engines, CoresGivenTwiceAreAWarning) {
  const auto plans = Plan({{"a.cores", "0-3"}, {"b.cores", "3-5"}});
  ASSERT_TRUE(plans.has_value());
  ASSERT_EQ(plans->warnings.size(), 1U);
  EXPECT_TRUE(plans->warnings[0].contains("engines a, b share core 3")) << plans->warnings[0];
}

TEST(Engines, CoresAndNodesThatDoNotExistAreNamedWithTheirSetting) {
  EXPECT_EQ(ErrorOf({{"a.cores", "6-9"}}),
            "engines.a.cores: core 8-9 does not exist or may not be used; this process may use 0-7");
  EXPECT_EQ(ErrorOf({{"cores", "12"}, {"a.runner", "fake"}}),
            "engine.cores: core 12 does not exist or may not be used; this process may use 0-7");
  EXPECT_EQ(ErrorOf({{"a.numa", "2"}}), "engines.a.numa: this machine has no NUMA node 2; it has: 0 1");
}

TEST(Engines, MemoryThatNoEngineNamesIsDividedEqually) {
  const auto plans = Plan({{"a.runner", "native"}, {"b.memory", "15GiB"}, {"c.runner", "native"}});
  ASSERT_TRUE(plans.has_value());
  EXPECT_EQ(plans->engines[0].machine_memory, 15ULL << 30);  // (50 GiB - a tenth - 15 GiB) / 2
  EXPECT_EQ(plans->engines[1].machine_memory, 0U);
  EXPECT_EQ(plans->engines[2].machine_memory, 15ULL << 30);
}

TEST(Engines, MoreMemoryThanThereIsIsRefusedWithTheSettings) {
  const std::string error = ErrorOf({{"a.memory", "40GiB"}, {"b.memory", "30GiB"}});
  EXPECT_TRUE(error.contains("engines.a.memory = 40GiB, engines.b.memory = 30GiB")) << error;
  const std::string nothing = ErrorOf({{"a.memory", "45GiB"}, {"b.runner", "native"}});
  EXPECT_TRUE(nothing.contains("no memory is left for engine b")) << nothing;
  EXPECT_TRUE(nothing.contains("engines.a.memory = 45GiB")) << nothing;
}

TEST(Engines, MoreMemoryThanIsFreeNowIsAWarning) {
  const auto plans = Plan({{"a.memory", "30GiB"}, {"b.memory", "30GiB"}});
  ASSERT_TRUE(plans.has_value());
  ASSERT_EQ(plans->warnings.size(), 1U);
}

TEST(Engines, AKernelForAnotherRunnerIsAWarning) {
  const auto plans = Plan({{"a.kernel", "avx2"}, {"a.runner", "ggml"}});
  ASSERT_TRUE(plans.has_value());
  ASSERT_EQ(plans->warnings.size(), 1U);
  EXPECT_TRUE(plans->warnings[0].starts_with("engines.a.kernel: only the native runner"))
      << plans->warnings[0];
}

TEST(Engines, APlaceIsDescribedInWords) {
  const auto plans = Plan({{"a.cores", "4-5,7"}, {"a.quota", "1.5"}, {"b.numa", "0"}});
  ASSERT_TRUE(plans.has_value()) << plans.error().message;
  EXPECT_EQ(plans->engines[0].Place(), "cores 4-5,7, at most 150% CPU");
  EXPECT_EQ(plans->engines[1].Place(), "cores 0-3, NUMA node 0");
}

}  // namespace
}  // namespace penstock
