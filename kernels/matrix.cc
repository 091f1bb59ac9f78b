#include "kernels/matrix.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "kernels/blocks.h"
#include "kernels/tile.h"

namespace penstock::kernels {
namespace {

using Quads = std::array<uint32_t, 8>;  // a group's 32 codes of one output, four to a word

void StoreQuad(std::byte* group, int vector, int column, uint32_t value) {
  std::memcpy(group + 64 * vector + 4 * column, &value, sizeof(value));
}

// The planes of kernels/layout.h; `shift` drops the code's lower bits, which another plane holds.
void StorePlane8(std::byte* group, int column, const Quads& quads) {
  for (int v = 0; v < 8; ++v) StoreQuad(group, v, column, quads[v]);
}

void StorePlane4(std::byte* group, int column, const Quads& quads) {
  constexpr uint32_t kMask = 0x0f0f0f0f;
  for (int v = 0; v < 4; ++v) {
    StoreQuad(group, v, column, (quads[v] & kMask) | ((quads[v + 4] & kMask) << 4));
  }
}

void StorePlane2(std::byte* group, int column, const Quads& quads, int shift) {
  for (int v = 0; v < 2; ++v) {
    uint32_t word = 0;
    for (int j = 0; j < 4; ++j) word |= ((quads[4 * v + j] >> shift) & 0x03030303) << (2 * j);
    StoreQuad(group, v, column, word);
  }
}

void StorePlane1(std::byte* group, int column, const Quads& quads, int shift) {
  uint32_t word = 0;
  for (int q = 0; q < 8; ++q) word |= ((quads[q] >> shift) & 0x01010101) << q;
  StoreQuad(group, 0, column, word);
}

void StoreGroup(int bits, std::byte* group, int column, const uint8_t* code) {
  Quads quads;
  std::memcpy(quads.data(), code, sizeof(quads));
  switch (bits) {
    case 8:
      return StorePlane8(group, column, quads);
    case 6:
      StorePlane4(group, column, quads);
      return StorePlane2(group + 256, column, quads, 4);
    case 5:
      StorePlane4(group, column, quads);
      return StorePlane1(group + 256, column, quads, 4);
    case 4:
      return StorePlane4(group, column, quads);
    case 3:
      StorePlane2(group, column, quads, 0);
      return StorePlane1(group + 128, column, quads, 2);
    case 2:
      return StorePlane2(group, column, quads, 0);
    default:
      PENSTOCK_CHECK(false);
  }
}

void StoreHalf(std::byte* at, uint16_t bits) {
  std::memcpy(at, &bits, sizeof(bits));
}

// One block of the file, of output `column` from weight k on, into its tile.
void PackBlock(const MatrixView& w, const BlockCodes& codes, int64_t k, int count, int column,
               std::byte* tile) {
  const Layout& layout = w.layout;
  std::byte* block = tile + k / kSuper * w.block_bytes;
  const BlockShape shape =
      BlockShapeOf(layout, std::min<int64_t>(kSuper, w.k - k / kSuper * kSuper) / kGroup);
  for (int i = 0; i < count; i += kGroup) {
    StoreGroup(layout.bits, block + (k + i) % kSuper / kGroup * 64 * layout.bits, column, codes.code + i);
  }
  if (!layout.super) {
    const int64_t at = 2 * (k % kSuper / layout.group * kTile + column);
    StoreHalf(block + shape.scales + at, codes.d);
    if (layout.has_min) StoreHalf(block + shape.mins + at, codes.m);
    return;
  }
  for (int g = 0; g < count / layout.group; ++g) {
    block[shape.scales + g * kTile + column] = static_cast<std::byte>(codes.scale[g]);
    if (layout.has_min) block[shape.mins + g * kTile + column] = static_cast<std::byte>(codes.min[g]);
  }
  StoreHalf(block + shape.supers + 2 * column, codes.d);
  if (layout.has_min) StoreHalf(block + shape.super_mins + 2 * column, codes.m);
}

void PackIntegerRow(const MatrixView& w, const std::byte* row, int column, std::byte* tile) {
  const FormatInfo& info = InfoOf(w.format);
  BlockCodes block;
  for (int64_t k = 0; k < w.k; k += info.block_elements, row += info.block_bytes) {
    DecodeBlock(w.format, row, block);
    PackBlock(w, block, k, info.block_elements, column, tile);
  }
}

template <int kBytes>
void PackFloatRow(const MatrixView& w, const std::byte* row, int column, std::byte* tile) {
  for (int64_t k = 0; k < w.k; ++k) {
    std::memcpy(tile + (k * kTile + column) * kBytes, row + k * kBytes, kBytes);
  }
}

void PackTile(const MatrixView& w, const std::byte* blocks, int64_t row_bytes, int64_t t, std::byte* tile) {
  const int64_t rows = std::min<int64_t>(kTile, w.n - t * kTile);
  // The missing outputs of the last tile, and the slab's tail, are zeros: finite, and never stored.
  std::memset(tile, 0, static_cast<size_t>(w.tile_bytes));
  for (int column = 0; column < rows; ++column) {
    const std::byte* row = blocks + (t * kTile + column) * row_bytes;
    if (w.layout.bits != 0) {
      PackIntegerRow(w, row, column, tile);
    } else if (w.layout.float_bytes == 4) {
      PackFloatRow<4>(w, row, column, tile);
    } else {
      PackFloatRow<2>(w, row, column, tile);
    }
  }
}

Status CheckShape(const FormatInfo& info, size_t bytes, int64_t n, int64_t k) {
  if (n <= 0 || k <= 0) return Fail(Code::kInvalid, "a matrix of {} x {} has no weights", n, k);
  if (k % info.block_elements != 0) {
    return Fail(Code::kInvalid, "rows of {} weights do not divide into {} blocks of {}", k, info.name,
                info.block_elements);
  }
  // Both factors are below 2^31 and a block is below 2^8 bytes, so neither product can overflow in 128 bits.
  const __int128 want = static_cast<__int128>(n) * (k / info.block_elements) * info.block_bytes;
  if (want != static_cast<__int128>(bytes)) {
    return Fail(Code::kInvalid, "{} x {} weights of {} take {} bytes, not {}", n, k, info.name,
                static_cast<int64_t>(want), bytes);
  }
  return {};
}

}  // namespace

Result<Matrix> Matrix::Pack(Format format, std::span<const std::byte> blocks, int32_t n, int32_t k,
                            chip::ThreadPool* pool) {
  const FormatInfo& info = InfoOf(format);
  PENSTOCK_TRY(CheckShape(info, blocks.size(), n, k));
  const Layout layout = LayoutOf(format);
  const int64_t tile_bytes = TileBytes(layout, k);
  const int64_t tiles = (int64_t{n} + kTile - 1) / kTile;
  PENSTOCK_ASSIGN(Buffer memory, AllocateBuffer(tiles * tile_bytes));

  Matrix matrix;
  matrix.view_ = {.data = memory.get(),
                  .tile_bytes = tile_bytes,
                  .block_bytes = layout.bits != 0 ? BlockShapeOf(layout, kSuper / kGroup).bytes : 0,
                  .layout = layout,
                  .format = format,
                  .n = n,
                  .k = k};
  matrix.bytes_ = tiles * tile_bytes;
  const int64_t row_bytes = int64_t{k} / info.block_elements * info.block_bytes;
  const auto pack = [&](int64_t begin, int64_t end, int) {
    for (int64_t t = begin; t < end; ++t) {
      PackTile(matrix.view_, blocks.data(), row_bytes, t, memory.get() + t * tile_bytes);
    }
  };
  if (pool != nullptr) {
    pool->For(tiles, 4, pack);
  } else {
    pack(0, tiles, 0);
  }
  matrix.memory_ = std::move(memory);
  return matrix;
}

void Matrix::DequantizeRow(int32_t row, float* out) const {
  if (!integer()) {
    for (int32_t k = 0; k < view_.k; ++k) out[k] = FloatAt(view_, row, k);
    return;
  }
  WeightGroup group;
  for (int32_t k = 0; k < view_.k; k += view_.layout.group) {
    ReadGroup(view_, row, k, group);
    for (int i = 0; i < view_.layout.group; ++i) {
      const float product = group.scale * static_cast<float>(group.integer[i]);
      out[k + i] = view_.layout.has_min ? product - group.min : product;
    }
  }
}

}  // namespace penstock::kernels
