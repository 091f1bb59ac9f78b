#include "model/files/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "model/files/weights.h"
#include "model/test_gguf.h"

namespace penstock {
namespace {

using testing::Bytes;
using ::testing::HasSubstr;

Bytes File(std::string_view header, size_t data) {
  Bytes bytes;
  testing::PutString(bytes, header);
  bytes.resize(bytes.size() + data);
  return bytes;
}

std::string Defect(std::string_view header, size_t data) {
  const auto tensors = ParseSafetensors(File(header, data), "m");
  return tensors.has_value() ? "it was read" : tensors.error().message;
}

TEST(Safetensors, ReadsShapesAndPlaces) {
  const Bytes bytes = File(R"({"__metadata__": {"format": "pt"},
      "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
      "b": {"dtype": "BF16", "shape": [5], "data_offsets": [24, 34]}})",
                           34);
  const auto file = ParseSafetensors(bytes, "m");
  ASSERT_TRUE(file.has_value()) << file.error().message;
  const auto& tensors = file->tensors;
  ASSERT_EQ(tensors.size(), 2U);
  EXPECT_EQ(tensors[0].rows, 2);
  EXPECT_EQ(tensors[0].cols, 3);
  EXPECT_EQ(tensors[1].format, kernels::Format::kBF16);
  EXPECT_EQ(tensors[1].data.data() + 10, bytes.data() + bytes.size());
}

TEST(Safetensors, WhatCannotBeAWeightIsNoDefect) {
  for (const auto* tensor : {R"("dtype": "F32", "shape": [], "data_offsets": [0, 4])",
                             R"("dtype": "F32", "shape": [0], "data_offsets": [0, 0])",
                             R"("dtype": "F64", "shape": [2], "data_offsets": [0, 16])",
                             R"("dtype": "BOOL", "shape": [1], "data_offsets": [0, 1])",
                             R"("dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1])",
                             R"("dtype": "NEW", "shape": [3], "data_offsets": [0, 1])",
                             R"("dtype": "F4", "shape": [3], "data_offsets": [0, 2])"}) {
    const Bytes bytes = File(fmt::format("{{\"a\": {{{}}}}}", tensor), 16);
    const auto file = ParseSafetensors(bytes, "m");
    ASSERT_TRUE(file.has_value()) << tensor << ": " << file.error().message;
    EXPECT_TRUE(file->tensors.empty()) << tensor;
    ASSERT_EQ(file->unread.size(), 1U) << tensor;
    EXPECT_EQ(file->unread[0].name, "a");
  }
}

TEST(Safetensors, DefectsAreNamed) {
  EXPECT_THAT(Defect("{", 0), HasSubstr("not valid JSON"));
  EXPECT_THAT(Defect("[]", 0), HasSubstr("not a JSON object"));
  EXPECT_THAT(Defect("{}", 0), HasSubstr("no tensors"));
  EXPECT_THAT(Defect(R"({"a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 4]}})", 4),
              HasSubstr("its shape needs 8 bytes, its data has 4"));
  EXPECT_THAT(Defect(R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 8]}})", 4),
              HasSubstr("outside the file"));
  EXPECT_THAT(Defect(R"({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}})", 4),
              HasSubstr("its shape needs 8 bytes, its data has 4"));
  EXPECT_THAT(Defect(R"({"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 4]}})", 4),
              HasSubstr("shape is wrong"));
  EXPECT_THAT(Defect(R"({"a": {"dtype": "F32", "shape": [9e15, 9e15], "data_offsets": [0, 4]}})", 4),
              HasSubstr("shape is wrong"));
  EXPECT_THAT(Defect(R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}})", 4),
              HasSubstr("outside the file"));
  EXPECT_THAT(Defect(R"({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
                         "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})",
                     4),
              HasSubstr("overlap"));
  EXPECT_THAT(Defect(R"({"a": 1})", 4), HasSubstr("\"a\" should be an object"));
}

TEST(Safetensors, AHeaderLongerThanTheFileIsRefused) {
  Bytes bytes(16, std::byte{0xff});
  EXPECT_THAT(ParseSafetensors(bytes, "m").error().message, HasSubstr("does not fit"));
  EXPECT_THAT(ParseSafetensors(std::span(bytes).first(3), "m").error().message,
              HasSubstr("first eight bytes"));
}

class ShardIndex : public ::testing::Test {
 protected:
  ShardIndex() { std::filesystem::create_directories(folder_); }
  ~ShardIndex() override { std::filesystem::remove_all(folder_); }
  Result<std::vector<std::string>> Shards(std::string_view index) {
    std::ofstream(folder_ + "/model.safetensors.index.json") << index;
    return SafetensorsShards(folder_);
  }
  const std::string folder_ = ::testing::TempDir() + "/penstock_shard_index";
};

TEST_F(ShardIndex, NamesEachShardOnce) {
  EXPECT_THAT(*Shards(R"({"weight_map": {"a": "2", "b": "1", "c": "2"}})"), ::testing::ElementsAre("1", "2"));
}

TEST_F(ShardIndex, IsStaleWhereTheWholeModelLies) {
  std::ofstream(folder_ + "/model.safetensors") << "weights";
  EXPECT_THAT(*Shards(R"({"weight_map": {"a": "gone"}})"), ::testing::ElementsAre("model.safetensors"));
}

TEST_F(ShardIndex, CannotReachOutsideTheFolder) {
  EXPECT_THAT(Shards(R"({"weight_map": {"a": "../../etc/passwd"}})").error().message,
              HasSubstr("not a file of this folder"));
}

TEST(CanonicalName, IsGgufsForEveryTensorThatIsServed) {
  EXPECT_EQ(CanonicalName("model.embed_tokens.weight"), "token_embd.weight");
  EXPECT_EQ(CanonicalName("model.layers.12.self_attn.q_proj.bias"), "blk.12.attn_q.bias");
  EXPECT_EQ(CanonicalName("model.layers.3.mlp.experts.17.down_proj.weight"), "blk.3.ffn_down.17.weight");
  EXPECT_EQ(CanonicalName("model.layers.3.mlp.gate.weight"), "blk.3.ffn_gate_inp.weight");
  EXPECT_EQ(CanonicalName("model.layers.3.self_attn.rotary_emb.inv_freq"), "");
  EXPECT_EQ(CanonicalName("model.layers.3.unheard_of.weight"), "model.layers.3.unheard_of.weight");
}

}  // namespace
}  // namespace penstock
