#include "kernels/matrix.h"

#include <gtest/gtest.h>

#include "kernels/test_util.h"

namespace penstock::kernels {
namespace {

using testing::RandomBlocks;

std::vector<float> Unpack(const Matrix& matrix) {
  std::vector<float> out(static_cast<size_t>(matrix.n()) * matrix.k());
  for (int32_t row = 0; row < matrix.n(); ++row) {
    matrix.DequantizeRow(row, out.data() + int64_t{row} * matrix.k());
  }
  return out;
}

TEST(Matrix, PackingLosesNoBitOfAnyFormat) {
  Random random(1);
  for (const FormatInfo& info : Formats()) {
    for (const int32_t n : {1, 16, 37}) {
      const int32_t k = info.block_elements == 256 ? 512 : info.block_elements == 32 ? 352 : 77;
      const std::vector<std::byte> blocks = RandomBlocks(info.format, n, k, random);
      std::vector<float> want(static_cast<size_t>(n) * k);
      Dequantize(info.format, blocks.data(), int64_t{n} * k, want.data());
      const Matrix matrix = Matrix::Pack(info.format, blocks, n, k).value();
      EXPECT_EQ(Unpack(matrix), want) << info.name << " n=" << n;
    }
  }
}

TEST(Matrix, ThreadsPackWhatOneThreadPacks) {
  Random random(2);
  chip::ThreadPool pool(3);
  const std::vector<std::byte> blocks = RandomBlocks(Format::kQ4_K, 200, 256, random);
  const Matrix alone = Matrix::Pack(Format::kQ4_K, blocks, 200, 256).value();
  const Matrix shared = Matrix::Pack(Format::kQ4_K, blocks, 200, 256, &pool).value();
  EXPECT_EQ(Unpack(shared), Unpack(alone));
}

TEST(Matrix, StaysCloseToTheSizeOfItsFile) {
  Random random(3);
  for (const FormatInfo& info : Formats()) {
    const std::vector<std::byte> blocks = RandomBlocks(info.format, 64, 1024, random);
    const Matrix matrix = Matrix::Pack(info.format, blocks, 64, 1024).value();
    // Q2_K is the worst: its 4-bit scales and minima become bytes, 3.125 bits a weight for 2.625.
    EXPECT_LE(static_cast<double>(matrix.resident_bytes()), 1.2 * static_cast<double>(blocks.size()))
        << info.name;
  }
}

TEST(Matrix, RefusesShapesThatCannotBe) {
  const std::vector<std::byte> blocks(144 * 4);
  EXPECT_TRUE(Matrix::Pack(Format::kQ4_K, blocks, 4, 256).has_value());
  EXPECT_EQ(Matrix::Pack(Format::kQ4_K, blocks, 0, 256).error().code, Code::kInvalid);
  EXPECT_EQ(Matrix::Pack(Format::kQ4_K, blocks, 4, -256).error().code, Code::kInvalid);
  EXPECT_EQ(Matrix::Pack(Format::kQ4_K, blocks, 3, 256).error().code, Code::kInvalid);
  EXPECT_EQ(Matrix::Pack(Format::kQ4_K, blocks, 8, 128).error().message,
            "rows of 128 weights do not divide into Q4_K blocks of 256");
  EXPECT_EQ(Matrix::Pack(Format::kF32, blocks, INT32_MAX, INT32_MAX).error().code, Code::kInvalid);
}

}  // namespace
}  // namespace penstock::kernels
