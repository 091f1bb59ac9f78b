#include "kernels/format.h"

#include <gtest/gtest.h>

#include <bit>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

namespace penstock::kernels {
namespace {

struct Golden {
  std::string name;
  std::vector<uint8_t> blocks;
  uint32_t first[4] = {};
  uint64_t hash = 0;
};

std::vector<uint8_t> FromHex(const std::string& hex) {
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<uint8_t>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

// Made by tools/make_format_goldens.py.
std::vector<Golden> Goldens() {
  std::ifstream file(PENSTOCK_SOURCE_DIR "/kernels/testdata/format_goldens.txt");
  std::vector<Golden> goldens;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    Golden golden;
    std::string hex;
    words >> golden.name >> hex >> std::hex;
    for (uint32_t& bits : golden.first) words >> bits;
    words >> golden.hash;
    golden.blocks = FromHex(hex);
    goldens.push_back(golden);
  }
  return goldens;
}

const FormatInfo* FindByName(const std::string& name) {
  for (const FormatInfo& info : Formats()) {
    if (info.name == name) return &info;
  }
  return nullptr;
}

uint64_t Fnv1a(const std::vector<float>& values) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const float value : values) {
    const auto bits = std::bit_cast<uint32_t>(value);
    for (int shift = 0; shift < 32; shift += 8) hash = (hash ^ ((bits >> shift) & 0xff)) * 0x100000001b3;
  }
  return hash;
}

std::vector<float> DequantizeAll(const FormatInfo& info, const std::vector<uint8_t>& blocks) {
  const size_t count = blocks.size() / info.block_bytes * info.block_elements;
  std::vector<float> out(count);
  Dequantize(info.format, blocks.data(), static_cast<int64_t>(count), out.data());
  return out;
}

TEST(Format, DequantizesEveryFormatBitExactlyAsTheGgufPackageDoes) {
  const std::vector<Golden> goldens = Goldens();
  ASSERT_EQ(goldens.size(), Formats().size());
  for (const Golden& golden : goldens) {
    const FormatInfo* info = FindByName(golden.name);
    ASSERT_NE(info, nullptr) << golden.name;
    const std::vector<float> out = DequantizeAll(*info, golden.blocks);
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(std::bit_cast<uint32_t>(out[i]), golden.first[i]) << golden.name << " element " << i;
    }
    EXPECT_EQ(Fnv1a(out), golden.hash) << golden.name;
  }
}

TEST(Format, FlippingAnyByteOfABlockChangesItsWeights) {
  for (const Golden& golden : Goldens()) {
    const FormatInfo& info = *FindByName(golden.name);
    std::vector<uint8_t> block(golden.blocks.begin(), golden.blocks.begin() + info.block_bytes);
    const std::vector<float> before = DequantizeAll(info, block);
    for (uint8_t& byte : block) {
      byte ^= 0xff;
      EXPECT_NE(Fnv1a(DequantizeAll(info, block)), Fnv1a(before)) << golden.name;
      byte ^= 0xff;
    }
  }
}

TEST(Format, IsFoundByTheNumberInTheFile) {
  EXPECT_EQ(FindFormat(12)->name, "Q4_K");
  EXPECT_EQ(FindFormat(30)->name, "BF16");
  EXPECT_EQ(FindFormat(4), nullptr);  // Q4_2, which was removed from ggml
  EXPECT_EQ(FindFormat(0xffffffff), nullptr);
  EXPECT_EQ(InfoOf(Format::kQ6_K).block_bytes, 210);
}

}  // namespace
}  // namespace penstock::kernels
