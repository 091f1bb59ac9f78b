#include "app/models/model_store.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "app/common/sha256.h"
#include "app/models/test_model.h"

namespace penstock {
namespace {
namespace fs = std::filesystem;

class ModelStoreTest : public ::testing::Test {
 protected:
  ModelStoreTest() {
    char folder[] = "/tmp/penstock-models-XXXXXX";
    folder_ = mkdtemp(folder);
    data_.emplace(*DataDir::Open(folder_ + "/data"));
    store_.emplace(*data_);
  }
  ~ModelStoreTest() override { fs::remove_all(folder_); }

  std::string Put(const std::string& name, const std::string& bytes) const {
    std::ofstream(folder_ + "/" + name, std::ios::binary) << bytes;
    return folder_ + "/" + name;
  }
  Result<Manifest> Import(const std::string& path, const std::string& name = "tiny") {
    return store_->Import({.name = name, .source = path}, path, {});
  }
  bool NothingLeftBehind() const {
    std::error_code error;
    return !fs::exists(store_->PartialFolder()) || fs::is_empty(store_->PartialFolder(), error);
  }

  std::string folder_;
  std::optional<DataDir> data_;
  std::optional<ModelStore> store_;
};

TEST_F(ModelStoreTest, AnImportedFileIsKnownByItsFacts) {
  const std::string bytes = TestModelBytes();
  const auto manifest = Import(Put("a.gguf", bytes));
  ASSERT_TRUE(manifest.has_value()) << manifest.error().message;
  EXPECT_EQ(manifest->facts.architecture, "llama");
  EXPECT_EQ(manifest->facts.vocabulary, 259);
  EXPECT_TRUE(manifest->facts.chat);
  EXPECT_EQ(manifest->files.at(0).sha256, Sha256OfText(bytes));
  EXPECT_EQ(store_->Find("tiny")->Bytes(), bytes.size());
  const auto installed = store_->Installed();
  ASSERT_EQ(installed.size(), 1U);
  EXPECT_EQ(installed[0].name, "tiny");
  EXPECT_EQ(fs::file_size(installed[0].path), bytes.size());
  EXPECT_TRUE(store_->Verify(*manifest, {}).has_value());
  EXPECT_TRUE(NothingLeftBehind());
}

TEST_F(ModelStoreTest, AFileThatIsNotAModelIsNotInstalled) {
  for (const std::string& bytes :
       {std::string("GGUF"), std::string(5000, 'x'), TestModelBytes().substr(0, 9000)}) {
    const auto manifest = Import(Put("bad.gguf", bytes));
    ASSERT_FALSE(manifest.has_value());
    EXPECT_TRUE(manifest.error().message.contains("bad.gguf")) << manifest.error().message;
  }
  EXPECT_TRUE(store_->List().empty());
  EXPECT_TRUE(NothingLeftBehind());
}

TEST_F(ModelStoreTest, AnArchitectureThatIsNotServedIsNamed) {
  const auto manifest = Import(Put("a.gguf", TestModelBytes({.architecture = "mamba"})));
  ASSERT_FALSE(manifest.has_value());
  EXPECT_EQ(manifest.error().code, Code::kUnsupported);
  EXPECT_TRUE(manifest.error().message.contains("mamba")) << manifest.error().message;
}

TEST_F(ModelStoreTest, AnArchitectureThatOnlyLibllamaSupportsIsInstalledForTheGgmlRunner) {
  const std::string path = Put("a.gguf", TestModelBytes({.architecture = "gemma"}));
  const auto refused = Import(path);
  ASSERT_FALSE(refused.has_value());
  EXPECT_TRUE(refused.error().message.contains("engine.runner = ggml")) << refused.error().message;
  store_.emplace(*data_, /*any_kind=*/true);
  const auto manifest = Import(path);
  ASSERT_TRUE(manifest.has_value()) << manifest.error().message;
  EXPECT_EQ(manifest->facts.architecture, "gemma");
  EXPECT_EQ(manifest->facts.context, 256);
}

TEST_F(ModelStoreTest, ATemplateThatNeverEndsIsFoundAtImport) {
  const auto manifest = Import(Put(
      "a.gguf",
      TestModelBytes({.chat_template = "{% for a in range(100000) %}{% for b in range(100000) %}{{ a * b }}"
                                       "{% endfor %}{% endfor %}"})));
  ASSERT_FALSE(manifest.has_value());
  EXPECT_TRUE(store_->List().empty());
}

TEST_F(ModelStoreTest, ATemplateThatDoesNotParseIsFoundAtImport) {
  EXPECT_FALSE(Import(Put("a.gguf", TestModelBytes({.chat_template = "{% for %}"}))).has_value());
}

TEST_F(ModelStoreTest, ANameIsTakenOnce) {
  const std::string path = Put("a.gguf", TestModelBytes());
  ASSERT_TRUE(Import(path).has_value());
  const auto again = Import(path);
  ASSERT_FALSE(again.has_value());
  EXPECT_EQ(again.error().code, Code::kConflict);
  ASSERT_TRUE(store_->Remove("tiny").has_value());
  EXPECT_TRUE(Import(path).has_value());
}

TEST_F(ModelStoreTest, ANameThatLeavesTheFolderIsRefused) {
  for (const char* name : {"", "..", "../x", "a/b", ".hidden", "a b", "pins.json"}) {
    EXPECT_EQ(store_->CheckNewName(name).error().code, Code::kInvalid) << name;
  }
  EXPECT_TRUE(store_->CheckNewName("Qwen3-0.6b:q8_0").has_value());
}

TEST_F(ModelStoreTest, AMissingModelIsNamedWithTheInstalledOnes) {
  EXPECT_TRUE(store_->Find("x").error().message.contains("penstock model pull"));
  ASSERT_TRUE(Import(Put("a.gguf", TestModelBytes())).has_value());
  const auto missing = store_->Find("tiny2");
  EXPECT_EQ(missing.error().code, Code::kNotFound);
  EXPECT_TRUE(missing.error().message.contains("did you mean 'tiny'")) << missing.error().message;
  EXPECT_EQ(Import(folder_ + "/nowhere.gguf", "other").error().code, Code::kNotFound);
}

TEST_F(ModelStoreTest, AFolderWithoutAConfigurationIsRefused) {
  fs::create_directory(folder_ + "/hf");
  Put("hf/model.safetensors", "x");
  const auto manifest = Import(folder_ + "/hf");
  ASSERT_FALSE(manifest.has_value());
  EXPECT_TRUE(manifest.error().message.contains("config.json")) << manifest.error().message;
}

TEST_F(ModelStoreTest, ChangedBytesAreFound) {
  const auto manifest = Import(Put("a.gguf", TestModelBytes()));
  ASSERT_TRUE(manifest.has_value());
  fs::remove(folder_ + "/a.gguf");
  std::ofstream(store_->PathOf(*manifest), std::ios::binary | std::ios::in).seekp(100).put('!');
  EXPECT_EQ(store_->Verify(*manifest, {}).error().code, Code::kCorrupt);
}

TEST_F(ModelStoreTest, AModelLargerThanTheMemoryIsRefused) {
  const auto fits = CheckFitsMemory("giant", 1ULL << 50);
  ASSERT_FALSE(fits.has_value());
  EXPECT_EQ(fits.error().code, Code::kTooLarge);
  EXPECT_TRUE(fits.error().message.contains("giant"));
}

TEST_F(ModelStoreTest, WhatADeadProcessPreparedIsDeletedAndUnfinishedDownloadsStay) {
  const pid_t dead = fork();
  if (dead == 0) _exit(0);
  waitpid(dead, nullptr, 0);
  const std::string ours = fmt::format("{}/tiny.{}", store_->PartialFolder(), getpid());
  const std::string theirs = fmt::format("{}/tiny.{}", store_->PartialFolder(), dead);
  fs::create_directories(ours);
  fs::create_directories(theirs + "/deep");
  std::ofstream(store_->PartialFolder() + "/abc.part") << "x";
  store_->RemoveAbandoned();
  EXPECT_TRUE(fs::exists(ours));
  EXPECT_FALSE(fs::exists(theirs));
  EXPECT_TRUE(fs::exists(store_->PartialFolder() + "/abc.part"));
}

TEST_F(ModelStoreTest, APinOutlivesItsModel) {
  ASSERT_TRUE(Import(Put("a.gguf", TestModelBytes())).has_value());
  ASSERT_TRUE(store_->Pin("tiny", "abc").has_value());
  ASSERT_TRUE(store_->Remove("tiny").has_value());
  EXPECT_EQ(store_->PinOf("tiny"), "abc");
  EXPECT_EQ(store_->PinOf("other"), "");
}

}  // namespace
}  // namespace penstock
