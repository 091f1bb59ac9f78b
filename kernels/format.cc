#include "kernels/format.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"
#include "kernels/blocks.h"
#include "kernels/half.h"
#include "kernels/layout.h"

namespace penstock::kernels {
namespace {

constexpr std::array kFormats = std::to_array<FormatInfo>({
    {Format::kF32, "F32", 1, 4},
    {Format::kF16, "F16", 1, 2},
    {Format::kQ4_0, "Q4_0", 32, 18},
    {Format::kQ4_1, "Q4_1", 32, 20},
    {Format::kQ5_0, "Q5_0", 32, 22},
    {Format::kQ5_1, "Q5_1", 32, 24},
    {Format::kQ8_0, "Q8_0", 32, 34},
    {Format::kQ2_K, "Q2_K", 256, 84},
    {Format::kQ3_K, "Q3_K", 256, 110},
    {Format::kQ4_K, "Q4_K", 256, 144},
    {Format::kQ5_K, "Q5_K", 256, 176},
    {Format::kQ6_K, "Q6_K", 256, 210},
    {Format::kIQ4_NL, "IQ4_NL", 32, 18},
    {Format::kBF16, "BF16", 1, 2},
});

uint16_t Half(const uint8_t* p) {
  uint16_t bits = 0;
  std::memcpy(&bits, p, sizeof(bits));
  return bits;
}

constexpr uint16_t kSignBit = 0x8000;  // formats that add their minimum: ours is subtracted

// 16 bytes of nibbles: low ones are elements 0–15, high ones 16–31.
void SplitNibbles(const uint8_t* qs, uint8_t* code) {
  for (int i = 0; i < 16; ++i) {
    code[i] = qs[i] & 0xf;
    code[i + 16] = qs[i] >> 4;
  }
}

// The fifth bit of element i is bit i of four bytes.
void AddFifthBits(const uint8_t* qh, uint8_t* code) {
  uint32_t bits = 0;
  std::memcpy(&bits, qh, sizeof(bits));
  for (int i = 0; i < 32; ++i) code[i] |= static_cast<uint8_t>(((bits >> i) & 1) << 4);
}

void DecodeQ4_0(const uint8_t* b, BlockCodes& out) {  // f16 d, qs[16]; IQ4_NL alike
  out.d = Half(b);
  SplitNibbles(b + 2, out.code);
}

void DecodeQ4_1(const uint8_t* b, BlockCodes& out) {  // f16 d, f16 m, qs[16]
  out.d = Half(b);
  out.m = Half(b + 2) ^ kSignBit;
  SplitNibbles(b + 4, out.code);
}

void DecodeQ5_0(const uint8_t* b, BlockCodes& out) {  // f16 d, qh[4], qs[16]
  out.d = Half(b);
  SplitNibbles(b + 6, out.code);
  AddFifthBits(b + 2, out.code);
}

void DecodeQ5_1(const uint8_t* b, BlockCodes& out) {  // f16 d, f16 m, qh[4], qs[16]
  out.d = Half(b);
  out.m = Half(b + 2) ^ kSignBit;
  SplitNibbles(b + 8, out.code);
  AddFifthBits(b + 4, out.code);
}

void DecodeQ8_0(const uint8_t* b, BlockCodes& out) {  // f16 d, int8 qs[32]
  out.d = Half(b);
  for (int i = 0; i < 32; ++i) out.code[i] = b[2 + i] ^ 0x80;
}

void DecodeQ2_K(const uint8_t* b, BlockCodes& out) {  // scales[16], qs[64], f16 d, f16 dmin
  out.d = Half(b + 80);
  out.m = Half(b + 82);
  for (int g = 0; g < 16; ++g) {
    out.scale[g] = static_cast<int8_t>(b[g] & 0xf);
    out.min[g] = static_cast<int8_t>(b[g] >> 4);
  }
  for (int i = 0; i < 256; ++i) {
    const int half = i / 128, shift = 2 * (i % 128 / 32);
    out.code[i] = (b[16 + 32 * half + i % 32] >> shift) & 3;
  }
}

void DecodeQ3_K(const uint8_t* b, BlockCodes& out) {  // hmask[32], qs[64], scales[12], f16 d
  const uint8_t *hmask = b, *qs = b + 32, *scales = b + 96;
  out.d = Half(b + 108);
  for (int g = 0; g < 16; ++g) {  // 6 bits each: nibbles of the first 8 bytes, then pairs of the last 4
    const int low = g < 8 ? scales[g] & 0xf : scales[g - 8] >> 4;
    const int high = (scales[8 + g % 4] >> (2 * (g / 4))) & 3;
    out.scale[g] = static_cast<int8_t>((low | (high << 4)) - 32);
  }
  for (int i = 0; i < 256; ++i) {
    const int half = i / 128, shift = 2 * (i % 128 / 32);
    const int low = (qs[32 * half + i % 32] >> shift) & 3;
    const int high = (hmask[i % 32] >> (i / 32)) & 1;
    out.code[i] = static_cast<uint8_t>(low | (high << 2));
  }
}

// Q4_K and Q5_K: eight 6-bit scales and minima in 12 bytes.
void UnpackScalesAndMins(const uint8_t* s, BlockCodes& out) {
  for (int g = 0; g < 4; ++g) {
    out.scale[g] = static_cast<int8_t>(s[g] & 63);
    out.min[g] = static_cast<int8_t>(s[g + 4] & 63);
    out.scale[g + 4] = static_cast<int8_t>((s[g + 8] & 0xf) | ((s[g] >> 6) << 4));
    out.min[g + 4] = static_cast<int8_t>((s[g + 8] >> 4) | ((s[g + 4] >> 6) << 4));
  }
}

// 128 bytes of nibbles in four runs of 32: low nibbles are 32 elements, high ones the next 32.
void SplitNibbleRuns(const uint8_t* qs, uint8_t* code) {
  for (int i = 0; i < 256; ++i) code[i] = (qs[32 * (i / 64) + i % 32] >> (4 * (i / 32 % 2))) & 0xf;
}

void DecodeQ4_K(const uint8_t* b, BlockCodes& out) {  // f16 d, f16 dmin, scales[12], qs[128]
  out.d = Half(b);
  out.m = Half(b + 2);
  UnpackScalesAndMins(b + 4, out);
  SplitNibbleRuns(b + 16, out.code);
}

void DecodeQ5_K(const uint8_t* b, BlockCodes& out) {  // f16 d, f16 dmin, scales[12], qh[32], qs[128]
  out.d = Half(b);
  out.m = Half(b + 2);
  UnpackScalesAndMins(b + 4, out);
  SplitNibbleRuns(b + 48, out.code);
  for (int i = 0; i < 256; ++i) {
    out.code[i] |= static_cast<uint8_t>(((b[16 + i % 32] >> (i / 32)) & 1) << 4);
  }
}

void DecodeQ6_K(const uint8_t* b, BlockCodes& out) {  // ql[128], qh[64], int8 scales[16], f16 d
  out.d = Half(b + 208);
  std::memcpy(out.scale, b + 192, 16);
  for (int i = 0; i < 256; ++i) {
    const int half = i / 128, r = i % 128;
    const int low = (b[64 * half + r % 64] >> (4 * (r / 64))) & 0xf;
    const int high = (b[128 + 32 * half + r % 32] >> (2 * (r / 32))) & 3;
    out.code[i] = static_cast<uint8_t>(low | (high << 4));
  }
}

// Scale and minimum of group g of a decoded block. Every product of an f16 and a small integer is exact in
// f32, so no rounding differs from the definition's order of operations.
float GroupScale(const Layout& layout, const BlockCodes& block, int g) {
  const float d = HalfToFloat(block.d);
  return layout.super ? d * static_cast<float>(block.scale[g]) : d;
}

float GroupMin(const Layout& layout, const BlockCodes& block, int g) {
  const float m = HalfToFloat(block.m);
  return layout.super ? m * static_cast<float>(block.min[g]) : m;
}

void DequantizeBlock(const Layout& layout, const BlockCodes& block, int count, float* out) {
  for (int g = 0; g < count / layout.group; ++g) {
    const float scale = GroupScale(layout, block, g);
    const float min = layout.has_min ? GroupMin(layout, block, g) : 0;
    for (int i = g * layout.group; i < (g + 1) * layout.group; ++i) {
      const float product = scale * static_cast<float>(WeightOf(layout, block.code[i]));
      out[i] = layout.has_min ? product - min : product;
    }
  }
}

}  // namespace

std::span<const FormatInfo> Formats() {
  return kFormats;
}

const FormatInfo* FindFormat(uint32_t ggml_type) {
  const auto it = std::find_if(kFormats.begin(), kFormats.end(), [&](const FormatInfo& info) {
    return static_cast<uint32_t>(info.format) == ggml_type;
  });
  return it == kFormats.end() ? nullptr : &*it;
}

const FormatInfo& InfoOf(Format format) {
  const FormatInfo* info = FindFormat(static_cast<uint32_t>(format));
  PENSTOCK_CHECK(info != nullptr);
  return *info;
}

void DecodeBlock(Format format, const void* block, BlockCodes& out) {
  const auto* b = static_cast<const uint8_t*>(block);
  switch (format) {
    case Format::kQ4_0:
    case Format::kIQ4_NL:
      return DecodeQ4_0(b, out);
    case Format::kQ4_1:
      return DecodeQ4_1(b, out);
    case Format::kQ5_0:
      return DecodeQ5_0(b, out);
    case Format::kQ5_1:
      return DecodeQ5_1(b, out);
    case Format::kQ8_0:
      return DecodeQ8_0(b, out);
    case Format::kQ2_K:
      return DecodeQ2_K(b, out);
    case Format::kQ3_K:
      return DecodeQ3_K(b, out);
    case Format::kQ4_K:
      return DecodeQ4_K(b, out);
    case Format::kQ5_K:
      return DecodeQ5_K(b, out);
    case Format::kQ6_K:
      return DecodeQ6_K(b, out);
    case Format::kF32:
    case Format::kF16:
    case Format::kBF16:
      break;
  }
  PENSTOCK_CHECK(false);
}

void Dequantize(Format format, const void* blocks, int64_t count, float* out) {
  const auto* bytes = static_cast<const uint8_t*>(blocks);
  switch (format) {
    case Format::kF32:
      std::memcpy(out, bytes, static_cast<size_t>(count) * sizeof(float));
      return;
    case Format::kF16:
      for (int64_t i = 0; i < count; ++i) out[i] = HalfToFloat(Half(bytes + 2 * i));
      return;
    case Format::kBF16:
      for (int64_t i = 0; i < count; ++i) out[i] = Bf16ToFloat(Half(bytes + 2 * i));
      return;
    default:
      break;
  }
  const FormatInfo& info = InfoOf(format);
  const Layout& layout = LayoutOf(format);
  BlockCodes block;
  for (int64_t i = 0; i < count; i += info.block_elements, bytes += info.block_bytes) {
    DecodeBlock(format, bytes, block);
    DequantizeBlock(layout, block, info.block_elements, out + i);
  }
}

}  // namespace penstock::kernels
