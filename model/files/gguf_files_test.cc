#include "model/files/gguf_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "model/files/assets.h"
#include "model/files/weights.h"
#include "model/test_gguf.h"

namespace penstock {
namespace {

using testing::Bytes;
using ::testing::ElementsAre;
using testing::GgufWriter;
using ::testing::HasSubstr;

class SplitModel : public ::testing::Test {
 protected:
  SplitModel() { std::filesystem::create_directories(folder_); }
  ~SplitModel() override { std::filesystem::remove_all(folder_); }

  std::string Part(int number, int count = 3) const {
    return fmt::format("{}/m-{:05}-of-{:05}.gguf", folder_, number, count);
  }
  static GgufWriter Numbered(GgufWriter w, uint16_t number, uint16_t count = 3) {
    w.Key("split.no", GgufValue::Type::kU16, number).Key("split.count", GgufValue::Type::kU16, count);
    return w;
  }
  static GgufWriter Piece(std::string_view name) {
    return GgufWriter().Tensor(name, kernels::Format::kF32, {4}, Bytes(16));
  }
  // The whole tiny model in part 2; parts 1 and 3 have its metadata and one tensor.
  void Write() {
    const auto whole = testing::TinyModel(kernels::Format::kQ8_0);
    testing::WriteBytes(Part(1), Numbered(whole.WithoutTensors(), 0).Build());
    testing::WriteBytes(Part(2), Numbered(whole.WithoutKeys(), 1).Build());
    testing::WriteBytes(Part(3), Numbered(Piece("more"), 2).Build());
  }

  const std::string folder_ = ::testing::TempDir() + "/penstock_split_" + std::to_string(::getpid());
};

TEST_F(SplitModel, AnyPartFindsTheOthers) {
  Write();
  for (int i = 1; i <= 3; ++i) {
    EXPECT_THAT(*GgufPartsOf(Part(i)), ElementsAre(Part(1), Part(2), Part(3)));
    const auto assets = ReadTextAssets(Part(i));
    ASSERT_TRUE(assets.has_value()) << assets.error().message;
    EXPECT_EQ(assets->name, "tiny");
    EXPECT_EQ(assets->quantisation, "Q8_0");
    auto files = ModelFiles::Open(Part(i));
    ASSERT_TRUE(files.has_value()) << files.error().message;
    EXPECT_TRUE(files->Has("blk.0.attn_q.weight"));
    EXPECT_TRUE(files->Has("more"));
    EXPECT_EQ(files->bytes(), assets->file_bytes);
  }
}

TEST_F(SplitModel, AMissingPartIsNamed) {
  Write();
  std::filesystem::remove(Part(2));
  for (const int i : {1, 3}) {
    EXPECT_THAT(
        ReadTextAssets(Part(i)).error().message,
        HasSubstr(fmt::format("part 2 of 3 of this split model is missing: download it to {}", Part(2))));
  }
}

TEST_F(SplitModel, PartsOfDifferentModelsAreRefused) {
  Write();
  testing::WriteBytes(Part(3), Numbered(Piece("more"), 1).Build());
  EXPECT_THAT(ReadTextAssets(Part(1)).error().message, HasSubstr("its metadata says part 2 of 3"));
  testing::WriteBytes(Part(3), Numbered(Piece("output_norm.weight"), 2).Build());
  EXPECT_THAT(ReadTextAssets(Part(1)).error().message, HasSubstr("\"output_norm.weight\" is in two parts"));
}

TEST_F(SplitModel, APartThatWasRenamedSaysHowPartsAreNamed) {
  Write();
  std::filesystem::rename(Part(1), folder_ + "/model.gguf");
  EXPECT_THAT(ReadTextAssets(folder_ + "/model.gguf").error().message, HasSubstr("-00001-of-00003.gguf"));
}

TEST_F(SplitModel, AWholeModelMayHaveAPartsName) {
  testing::WriteBytes(Part(1, 1), testing::TinyModel(kernels::Format::kQ8_0).Build());
  EXPECT_THAT(*GgufPartsOf(Part(1, 1)), ElementsAre(Part(1, 1)));
  EXPECT_TRUE(ReadTextAssets(Part(1, 1)).has_value());
}

}  // namespace
}  // namespace penstock
