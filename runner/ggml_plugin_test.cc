#include "runner/ggml_plugin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "runner/execute.h"

// Tests name the few fields that they are about.
#pragma clang diagnostic ignored "-Wmissing-designated-field-initializers"

namespace penstock {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string Golden(const std::string& name) {
  return std::string(PENSTOCK_SOURCE_DIR) + "/model/testdata/logits/" + name;
}

class GgmlRunner : public ::testing::Test {
 protected:
  void SetUp() override {
    if (GgmlPluginPath().empty()) GTEST_SKIP() << "the plug-in is not built: ./dev setup --ggml";
    auto made = MakeGgmlRunner({.device = "CPU", .max_sequences = 4, .threads = 2});
    ASSERT_TRUE(made.has_value()) << made.error().message;
    runner_ = *std::move(made);
  }

  LoadedModel Load(const std::string& name, int64_t kv_bytes = 1 << 20) {
    auto model = runner_->Load({Golden(name), kv_bytes, 0});
    EXPECT_TRUE(model.has_value()) << model.error().message;
    return *model;
  }
  std::string Refused(const std::string& path) {
    const auto model = runner_->Load({path, 1 << 20, 0});
    EXPECT_FALSE(model.has_value());
    return model.error().message;
  }

  std::unique_ptr<Runner> runner_;
};

SequenceStep Step(SequenceId id, int32_t start, std::vector<Token> tokens, std::vector<PageId> pages) {
  return {.sequence = id,
          .start = start,
          .tokens = std::move(tokens),
          .pages = std::move(pages),
          .sample = true,
          .sampling = {.temperature = 0, .top_logprobs = 0}};
}

TEST(GgmlPlugin, IsNamedWithTheWayToGetItWhereItIsMissing) {
  if (!GgmlPluginPath().empty()) GTEST_SKIP() << "it is there";
  EXPECT_THAT(MakeGgmlRunner({}).error().message, HasSubstr("./dev setup --ggml"));
}

// A process opens one libllama for good: each of these gets a process of its own, which says what it was
// told.
class GgmlLibraries : public ::testing::Test {
 protected:
  void SetUp() override {
    if (GgmlPluginPath().empty()) GTEST_SKIP() << "the plug-in is not built: ./dev setup --ggml";
    GTEST_FLAG_SET(death_test_style, "threadsafe");
  }
  static std::string Beside(const std::string& name) {
    return GgmlPluginPath().substr(0, GgmlPluginPath().rfind('/') + 1) + name;
  }
  [[noreturn]] static void SayAndExit(const std::vector<std::string>& folders) {
    const auto made = MakeGgmlRunner({.device = "CPU", .libraries = folders});
    fmt::print(stderr, "{}\n", made.has_value() ? (*made)->Chip().kernel : made.error().message);
    std::_Exit(made.has_value() ? 0 : 1);  // its drivers' exit handlers are not ours to test
  }
};

TEST_F(GgmlLibraries, WhereThereAreNoneTheMessageNamesTheFoldersTheVersionAndTheWayOut) {
  EXPECT_EXIT(SayAndExit({"/nowhere", "/nor/here"}), ::testing::ExitedWithCode(1),
              "finds no libllama [^ ]+ in /nowhere or /nor/here: `./dev setup --ggml` fetches it; "
              "engine.ggml_libraries names a folder");
}

TEST_F(GgmlLibraries, AnotherVersionIsRefusedByName) {
  EXPECT_EXIT(SayAndExit({Beside("other")}), ::testing::ExitedWithCode(1),
              "was built for libllama [^ ]+, and .*/other/libllama.so is 0.0.1");
}

TEST_F(GgmlLibraries, WhatIsNoLibraryIsRefusedByName) {
  const std::string folder = ::testing::TempDir() + "/penstock_no_ggml_" + std::to_string(::getpid());
  std::filesystem::create_directories(folder);
  std::ofstream(folder + "/libllama.so") << "no library";
  EXPECT_EXIT(SayAndExit({folder}), ::testing::ExitedWithCode(1), "libllama does not load: .*libllama.so");
  std::filesystem::remove_all(folder);
}

// As npm's archive has it: by its version alone, without the link that a compiler looks for.
TEST_F(GgmlLibraries, AFolderOfTheOperatorsServesWhateverTheFileIsCalled) {
  const std::string folder = ::testing::TempDir() + "/penstock_own_ggml_" + std::to_string(::getpid());
  std::filesystem::create_directories(folder);
  for (const auto& entry : std::filesystem::directory_iterator(Beside("ggml"))) {
    const auto name = entry.path().filename();
    if (name != "libllama.so" && name != "libggml.so") std::filesystem::create_symlink(entry, folder / name);
  }
  EXPECT_EXIT(SayAndExit({"/nowhere", folder}), ::testing::ExitedWithCode(0), "ggml-cpu");
  std::filesystem::remove_all(folder);
}

TEST_F(GgmlRunner, SaysWhatItRunsOn) {
  EXPECT_EQ(runner_->Name(), "ggml");
  EXPECT_THAT(runner_->Chip().kernel, HasSubstr("ggml-cpu"));
  EXPECT_NE(runner_->Chip().name, "");
}

TEST_F(GgmlRunner, ADeviceThatIsNotThereIsNamedWithThoseThatAre) {
  const auto made = MakeGgmlRunner({.device = "CUDA7"});
  ASSERT_FALSE(made.has_value());
  EXPECT_THAT(made.error().message, AllOf(HasSubstr("\"CUDA7\""), HasSubstr("CPU (")));
  EXPECT_THAT(MakeGgmlRunner({.max_sequences = 129}).error().message, HasSubstr("1 to 128"));
}

TEST_F(GgmlRunner, WhatItCannotLoadIsRefusedByName) {
  const std::string path = ::testing::TempDir() + "/penstock_ggml_" + std::to_string(::getpid()) + ".gguf";
  std::ofstream(path) << "no model";
  EXPECT_THAT(Refused(path), AllOf(HasSubstr(path), HasSubstr("does not load it"), HasSubstr("magic")));
  std::filesystem::remove(path);
  EXPECT_THAT(Refused(path), HasSubstr("no such file"));
  EXPECT_THAT(Refused(Golden("llama")), HasSubstr("reads GGUF files"));
  // Its heads are wider than its width has room for, which libllama's qwen2 does not know.
  EXPECT_THAT(Refused(Golden("qwen2.gguf")), AllOf(HasSubstr("qwen2.gguf"), HasSubstr("wrong shape")));
  EXPECT_THAT(runner_->Load({Golden("llama.gguf"), 1, 0}).error().message, HasSubstr("do not hold one page"));
  // And is none the worse for it.
  const LoadedModel model = Load("llama.gguf");
  EXPECT_TRUE(Execute(*runner_, {.model = model.id, .work = {Step(1, 0, {1, 2}, {0})}}).has_value());
}

TEST_F(GgmlRunner, SeveralModelsAreLoadedAtOnce) {
  const LoadedModel llama = Load("llama.gguf"), qwen = Load("qwen3.gguf");
  const auto step = [&](ModelId id) {
    return Execute(*runner_, {.model = id, .work = {Step(1, 0, {1, 2}, {0})}});
  };
  EXPECT_NE(step(llama.id)->sampled[0].logprob, step(qwen.id)->sampled[0].logprob);
  EXPECT_GT(step(qwen.id)->chip_time, 0);
  runner_->Unload(llama.id);
  EXPECT_EQ(step(llama.id).error().code, Code::kNotFound);
  EXPECT_TRUE(step(qwen.id).has_value());
}

TEST_F(GgmlRunner, APlanThatCannotBeIsAnErrorAndTheNextOneRuns) {
  const LoadedModel model = Load("llama.gguf");
  const auto error = [&](SequenceStep work) {
    const auto result = Execute(*runner_, {.model = model.id, .work = {std::move(work)}});
    return result.has_value() ? "" : result.error().message;
  };
  EXPECT_EQ(error(Step(1, 0, {1, 2}, {0})), "");
  EXPECT_THAT(error(Step(1, 2, {96}, {0})), HasSubstr("not in the model's vocabulary"));
  EXPECT_THAT(error(Step(1, 2, {-1}, {0})), HasSubstr("not in the model's vocabulary"));
  EXPECT_THAT(error(Step(1, 2, {1}, {model.pages})), HasSubstr("do not fit"));
  EXPECT_THAT(error(Step(1, 1 << 20, {1}, {0})), HasSubstr("exceed the context"));
  EXPECT_THAT(error(Step(2, 5, {1}, {1})), HasSubstr("goes on from"));
  EXPECT_EQ(error(Step(1, 2, {3}, {0})), "");
}

TEST_F(GgmlRunner, MemoryForAFewPagesHoldsExactlyThose) {
  const LoadedModel large = Load("llama.gguf");
  const LoadedModel small = Load("llama.gguf", large.page_bytes * 3);
  EXPECT_EQ(small.pages, 3);
  EXPECT_EQ(small.context, 48);
  EXPECT_EQ(small.vocabulary, 96);
}

}  // namespace
}  // namespace penstock
