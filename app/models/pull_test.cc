#include "app/models/pull.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <set>

#include "app/common/sha256.h"
#include "app/common/test_server.h"
#include "app/models/test_model.h"

namespace penstock {
namespace {
namespace fs = std::filesystem;

constexpr const char* kHubFile =
    "/Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF/resolve/main/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf";
constexpr const char* kHubRevision =
    "/Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF/resolve/c0ffee/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf";

// A hub and a mirror on this machine, and no wheel.
class PullTest : public ::testing::Test {
 protected:
  PullTest() : bytes_(TestModelBytes()) {
    char folder[] = "/tmp/penstock-pull-XXXXXX";
    folder_ = mkdtemp(folder);
    store_.emplace(*DataDir::Open(folder_));
    options_.hub = server_.Url("");
    options_.modelscope = "";
    options_.stall_timeout = 2 * kSecond;
  }
  ~PullTest() override { fs::remove_all(folder_); }

  // The hub describes the file on a redirect and serves it at the revision that it named.
  void HubOffers(const std::string& bytes) {
    server_.Serve(kHubFile, {.status = 302,
                             .headers = {"X-Linked-ETag: \"" + Sha256OfText(bytes) + "\"",
                                         fmt::format("X-Linked-Size: {}", bytes.size()),
                                         "X-Repo-Commit: c0ffee", "Location: " + server_.Url("/elsewhere")}});
    server_.Serve(kHubRevision, {.body = bytes});
  }
  Result<Manifest> Get(PullRequest request) {
    return Pull(request, options_, *store_, [this](const std::string& line) { said_ += line + "\n"; });
  }
  Result<Manifest> Get(const std::string& what) { return Get({.what = what}); }

  TestServer server_;
  std::string bytes_, folder_, said_;
  PullOptions options_;
  std::optional<ModelStore> store_;
};

TEST_F(PullTest, TheBytesAreCheckedAgainstTheHubsHashWhichIsPinned) {
  HubOffers(bytes_);
  const auto manifest = Get("qwen2.5-coder-0.5b");
  ASSERT_TRUE(manifest.has_value()) << manifest.error().message;
  EXPECT_EQ(manifest->files[0].sha256, Sha256OfText(bytes_));
  EXPECT_TRUE(manifest->source.contains("c0ffee")) << manifest->source;
  EXPECT_EQ(manifest->licence, "Apache-2.0");
  EXPECT_EQ(store_->PinOf("qwen2.5-coder-0.5b"), Sha256OfText(bytes_));
}

TEST_F(PullTest, AFileThatChangedOnTheHubIsRefusedUnlessRepinned) {
  HubOffers(bytes_);
  ASSERT_TRUE(Get("qwen2.5-coder-0.5b").has_value());
  ASSERT_TRUE(store_->Remove("qwen2.5-coder-0.5b").has_value());
  HubOffers(TestModelBytes({.chat_template = "{{ messages[0].content }}"}));
  const auto changed = Get("qwen2.5-coder-0.5b");
  ASSERT_FALSE(changed.has_value());
  EXPECT_TRUE(said_.contains("--repin")) << said_;
  EXPECT_TRUE(Get({.what = "qwen2.5-coder-0.5b", .repin = true}).has_value());
}

TEST_F(PullTest, AHubThatServesOtherBytesThanItStatedInstallsNothing) {
  HubOffers(bytes_);
  std::string wrong = bytes_;
  wrong[1000] ^= 1;
  server_.Serve(kHubRevision, {.body = wrong});
  const auto manifest = Get("qwen2.5-coder-0.5b");
  ASSERT_FALSE(manifest.has_value());
  EXPECT_TRUE(said_.contains("SHA-256")) << said_;
  EXPECT_TRUE(store_->List().empty());
  EXPECT_EQ(store_->PinOf("qwen2.5-coder-0.5b"), "");
}

TEST_F(PullTest, WaitsAsLongAsABusyHubAsks) {
  HubOffers(bytes_);
  server_.ServeInTurn(kHubFile, {{.status = 429, .headers = {"Retry-After: 1"}},
                                 {.status = 302,
                                  .headers = {"X-Linked-ETag: \"" + Sha256OfText(bytes_) + "\"",
                                              fmt::format("X-Linked-Size: {}", bytes_.size()),
                                              "X-Repo-Commit: c0ffee", "Location: /elsewhere"}}});
  EXPECT_TRUE(Get("qwen2.5-coder-0.5b").has_value());
  EXPECT_TRUE(said_.contains("answered 429; trying again in 1 s")) << said_;
  server_.Serve(kHubFile, {.status = 503, .headers = {"Retry-After: 86400"}});
  EXPECT_FALSE(Get({.what = "qwen2.5-coder-0.5b", .name = "again"}).has_value());
  EXPECT_TRUE(said_.contains("answered 503")) << said_;
}

TEST_F(PullTest, AServerThatIsNotAHubIsDetected) {
  server_.Serve(kHubFile, {.body = "<html>log in</html>"});
  const auto manifest = Get("qwen2.5-coder-0.5b");
  ASSERT_FALSE(manifest.has_value());
  EXPECT_TRUE(said_.contains("does not state its SHA-256")) << said_;
}

TEST_F(PullTest, EachSourceIsTriedInTurnAndItsFailureIsReported) {
  options_.mirrors = {server_.Url("/mirror"), "http://127.0.0.1:1"};
  options_.hub = "http://no-such-host.invalid";
  const auto manifest = Get("qwen2.5-coder-0.5b");
  ASSERT_FALSE(manifest.has_value());
  EXPECT_EQ(manifest.error().code, Code::kUnavailable);
  EXPECT_TRUE(manifest.error().message.contains("model import")) << manifest.error().message;
  for (const char* why : {"404", "no server answers there", "no such host"}) {
    EXPECT_TRUE(said_.contains(why)) << why << " in " << said_;
  }
}

TEST_F(PullTest, AMirrorWithAHashBesideTheFileIsEnough) {
  options_.mirrors = {server_.Url("/mirror/")};
  const std::string path = "/mirror/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf";
  server_.Serve(path, {.body = bytes_});
  server_.Serve(path + ".sha256", {.body = Sha256OfText(bytes_) + "  file.gguf\n"});
  const auto manifest = Get("qwen2.5-coder-0.5b");
  ASSERT_TRUE(manifest.has_value()) << manifest.error().message;
  EXPECT_TRUE(manifest->source.contains("/mirror/"));
}

TEST_F(PullTest, AUrlWithoutAnyHashIsRefused) {
  server_.Serve("/x/tiny.gguf", {.body = bytes_});
  const auto manifest = Get(server_.Url("/x/tiny.gguf"));
  ASSERT_FALSE(manifest.has_value());
  EXPECT_TRUE(said_.contains("--sha256")) << said_;
  const auto held = Get({.what = server_.Url("/x/tiny.gguf"), .sha256 = Sha256OfText(bytes_)});
  ASSERT_TRUE(held.has_value()) << held.error().message;
  EXPECT_EQ(held->name, "tiny");
}

TEST_F(PullTest, AnyFileOfTheHubCanBeNamed) {
  server_.Serve("/some/repo/resolve/main/Model-Q8_0.gguf",
                {.status = 302,
                 .headers = {"X-Linked-ETag: \"" + Sha256OfText(bytes_) + "\"",
                             fmt::format("X-Linked-Size: {}", bytes_.size()), "Location: /x"}});
  const auto unfinished = Get("hf:some/repo/Model-Q8_0.gguf");
  ASSERT_FALSE(unfinished.has_value());  // the redirect's end is not there: 404
  EXPECT_EQ(Get("hf:some/repo").error().code, Code::kInvalid);
}

// ModelScope's API as its public clients use it; we have never downloaded from it.
constexpr const char* kModelScope = "/ms/api/v1/models/Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF/repo";

std::string FileList(const std::string& path, const std::string& bytes, const std::string& sha256) {
  return fmt::format(R"({{"Code":200,"Success":true,"Data":{{"Files":[
      {{"Name":"README.md","Path":"README.md","Size":3,"Type":"blob","Sha256":"{0}"}},
      {{"Name":"x","Path":"{1}","Size":{2},"Type":"blob","Sha256":"{3}","Revision":"5ca1ab1e"}}]}}}})",
                     std::string(64, '0'), path, bytes.size(), sha256);
}

TEST_F(PullTest, ModelScopeIsAskedAfterTheHubAndItsListHasTheHash) {
  options_.hub = "http://127.0.0.1:1";
  options_.token = "secret";
  options_.modelscope = server_.Url("/ms/");
  const std::string file = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf";
  server_.Serve(fmt::format("{}/files?Revision=master&Recursive=true", kModelScope),
                {.body = FileList(file, bytes_, Sha256OfText(bytes_))});
  server_.Serve(fmt::format("{}?Revision=master&FilePath={}", kModelScope, file), {.body = bytes_});
  const auto manifest = Get("qwen2.5-coder-0.5b");
  ASSERT_TRUE(manifest.has_value()) << manifest.error().message << said_;
  EXPECT_EQ(manifest->files[0].sha256, Sha256OfText(bytes_));
  EXPECT_TRUE(manifest->source.contains("ModelScope")) << manifest->source;
  EXPECT_TRUE(manifest->source.contains("5ca1ab1e")) << manifest->source;
  EXPECT_FALSE(server_.SawHeader("Authorization")) << "only the hub may see its token";
}

TEST_F(PullTest, AModelScopeWithoutTheFileOrItsHashOrWithOtherBytesIsSkipped) {
  options_.hub = "http://127.0.0.1:1";
  options_.modelscope = server_.Url("/ms");
  const std::string file = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf";
  const std::string list = fmt::format("{}/files?Revision=master&Recursive=true", kModelScope);
  std::string wrong = bytes_;
  wrong[1000] ^= 1;
  server_.Serve(fmt::format("{}?Revision=master&FilePath={}", kModelScope, file), {.body = wrong});
  const std::pair<std::string, std::string> rows[] = {
      {"<html>", "does not answer as ModelScope does"},
      {R"({"Code":200,"Data":{"Files":[]}})", "does not list the file"},
      {FileList(file, bytes_, ""), "does not state the SHA-256"},
      {FileList(file, bytes_, Sha256OfText(bytes_)), "sent other bytes"},
  };
  for (const auto& [body, why] : rows) {
    said_.clear();
    server_.Serve(list, {.body = body});
    EXPECT_FALSE(Get("qwen2.5-coder-0.5b").has_value());
    EXPECT_TRUE(said_.contains(why)) << why << " in " << said_;
  }
  EXPECT_TRUE(store_->List().empty());
}

constexpr uint64_t kGB = 1'000'000'000;
FitMachine Machine(uint64_t memory) {
  return {.memory = memory, .memory_free = memory, .bandwidth = 40e9, .int8_ops = 900e9, .f32_flops = 200e9};
}

TEST_F(PullTest, WhetherItFitsIsReportedBeforeTheDownload) {
  HubOffers(bytes_);
  const auto manifest = Get({.what = "qwen2.5-coder-0.5b", .machine = Machine(24 * kGB)});
  ASSERT_TRUE(manifest.has_value()) << manifest.error().message;
  const size_t verdict = said_.find("fits this machine"), speed = said_.find("tokens/s for one user"),
               room = said_.find("users at once with");
  EXPECT_LT(verdict, speed) << said_;
  EXPECT_LT(speed, room) << said_;
  EXPECT_LT(room, said_.find("SHA-256 is correct")) << said_;
}

// A file that is not in the catalogue has its shape in its first bytes, on servers with and without ranges.
TEST_F(PullTest, AnUnknownFilesShapeIsReadFromItsBeginning) {
  for (const bool ranges : {true, false}) {
    said_.clear();
    const std::string name = ranges ? "with" : "without";
    server_.Serve("/x/" + name + ".gguf", {.body = bytes_, .ranges = ranges});
    const auto manifest = Get({.what = server_.Url("/x/" + name + ".gguf"),
                               .sha256 = Sha256OfText(bytes_),
                               .machine = Machine(24 * kGB)});
    ASSERT_TRUE(manifest.has_value()) << manifest.error().message;
    EXPECT_TRUE(said_.contains("64 users at once with 256 tokens each")) << said_;
  }
}

TEST_F(PullTest, AModelThatDoesNotFitIsRefusedBeforeTheDownloadUnlessForced) {
  server_.Serve(kHubFile, {.status = 302,
                           .headers = {"X-Linked-ETag: \"" + Sha256OfText(bytes_) + "\"",
                                       "X-Linked-Size: 30000000000", "Location: /elsewhere"}});
  const auto refused = Get({.what = "qwen2.5-coder-0.5b", .machine = Machine(8 * kGB)});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Code::kTooLarge);
  for (const char* words : {"30.0 GB", "8.0 GB", "--anyway", "qwen3-8b"}) {
    EXPECT_TRUE(refused.error().message.contains(words)) << words << " in " << refused.error().message;
  }
  for (const auto& seen : server_.Seen())
    EXPECT_FALSE(seen.starts_with("GET " + std::string(kHubFile))) << seen;
  const auto forced = Get({.what = "qwen2.5-coder-0.5b", .anyway = true, .machine = Machine(8 * kGB)});
  ASSERT_FALSE(forced.has_value());
  EXPECT_NE(forced.error().code, Code::kTooLarge) << "it was tried";
  EXPECT_TRUE(said_.contains("does not fit this machine")) << said_;
}

TEST_F(PullTest, AModelThatCannotFitByAnyEstimateIsRefusedBeforeASourceIsAsked) {
  const auto refused = Get({.what = "qwen3-30b-a3b", .machine = Machine(8 * kGB)});
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Code::kTooLarge);
  EXPECT_TRUE(refused.error().message.contains("about 18.8 GB")) << refused.error().message;
  EXPECT_TRUE(server_.Seen().empty());
}

TEST(KnownModelsTable, TheLargestThatFitsGrowsWithTheMachine) {
  struct Row {
    uint64_t memory;
    double least_rate;
    const char* best;  // nullptr: none
  };
  const Row rows[] = {
      {600'000'000, 0, nullptr},
      {2 * kGB, 0, "smollm2-1.7b"},
      {8 * kGB, 0, "qwen3-8b"},
      {64 * kGB, 0, "qwen3-30b-a3b"},
      {64 * kGB, kReadingPace, "qwen3-30b-a3b"},
      {8 * kGB, 50, "qwen3-0.6b"},
  };
  for (const Row& row : rows) {
    const CatalogueModel* best = LargestThatFits(Machine(row.memory), row.least_rate);
    EXPECT_EQ(best == nullptr ? std::string_view("none") : best->name,
              row.best == nullptr ? "none" : row.best)
        << row.memory << " " << row.least_rate;
  }
}

TEST_F(PullTest, AnUnknownNameSuggestsASimilarOne) {
  const auto manifest = Get("smollm-135m");
  ASSERT_FALSE(manifest.has_value());
  EXPECT_TRUE(manifest.error().message.contains("smollm2-135m")) << manifest.error().message;
}

TEST_F(PullTest, WithoutPythonTheWheelFailsWithThatReason) {
  options_.python = folder_ + "/no-python";
  const auto manifest = Get("smollm2-135m");
  ASSERT_FALSE(manifest.has_value());
  EXPECT_TRUE(said_.contains("no-python")) << said_;
}

TEST(KnownModelsTable, FollowsItsOwnRules) {
  std::set<std::string_view> names;
  for (const auto& model : KnownModels()) {
    EXPECT_TRUE(names.insert(model.name).second) << model.name;
    EXPECT_FALSE(model.licence.empty()) << model.name;
    EXPECT_FALSE(model.hub.repository.empty() && model.wheel.package.empty()) << model.name;
    EXPECT_EQ(model.sha256.empty(), model.size == 0) << model.name << ": pinned with both or neither";
    EXPECT_TRUE(model.sha256.empty() || NormalSha256(model.sha256) == model.sha256) << model.name;
    EXPECT_TRUE(model.wheel.package.empty() || model.PulledByUs())
        << model.name << ": a wheel's bytes have no other hash";
  }
}

}  // namespace
}  // namespace penstock
