// Attention over the lanes of kernels/lanes.h. Included like it.
//
// Queries (rows × heads of the group) are taken in blocks; for each block the pages pass by in order, and a
// page does three things: scores (a lane is a key), softmax fold (per query), output (a lane is a dimension).
// A page is converted to f32 once per block. Scores of keys that a query may not see are computed and
// dropped; values of such keys are never touched, so that what lies in unwritten slots cannot leak.
#pragma once

#include <limits>

#include "kernels/kernels.h"
#include "kernels/lanes.h"
#include "kernels/versions.h"

namespace penstock::kernels {
namespace {

struct QueryBlock {
  const Attention& args;
  int32_t first = 0, count = 0;  // queries [first, first + count); query i is row i / group, head i % group
  AttentionScratch at;
  float* scratch;

  PENSTOCK_LANES int32_t Row(int32_t i) const { return (first + i) / args.group; }
  PENSTOCK_LANES int64_t Column(int32_t i) const { return int64_t{(first + i) % args.group} * args.head_dim; }
  PENSTOCK_LANES const float* Query(int32_t i) const { return args.q + Row(i) * args.q_stride + Column(i); }
  PENSTOCK_LANES float* Result(int32_t i) const { return args.out + Row(i) * args.out_stride + Column(i); }
  PENSTOCK_LANES float* Output(int32_t i) const { return scratch + at.Output() + i * at.width; }
  PENSTOCK_LANES float* Sum(int32_t i) const { return scratch + at.Sum() + int64_t{i} * kPageTokens; }
  PENSTOCK_LANES float* Scores(int32_t i) const { return scratch + at.Scores() + int64_t{i} * kPageTokens; }
  PENSTOCK_LANES float& Max(int32_t i) const { return scratch[at.Max() + i]; }
  // Keys of page `page` that query i sees: 0 … 16.
  PENSTOCK_LANES int32_t Keys(int32_t i, int32_t page) const {
    const int32_t keys = args.first_pos + Row(i) + 1 - page * kPageTokens;
    return keys < 0 ? 0 : keys < kPageTokens ? keys : kPageTokens;
  }
};

PENSTOCK_LANES Floats LoadKv(const std::byte* page, int64_t i, KvType type) {
  return type == KvType::kF16 ? LoadHalves(page + 2 * i) : Load(reinterpret_cast<const float*>(page) + i);
}

void ConvertKeys(const QueryBlock& block, const std::byte* page) {
  float* keys = block.scratch + block.at.KPage();
  for (int64_t i = 0; i < int64_t{block.args.head_dim} * kPageTokens; i += kLanes) {
    Store(keys + i, LoadKv(page, i, block.args.kv));
  }
}

void ConvertValues(const QueryBlock& block, const std::byte* page) {
  float* values = block.scratch + block.at.VPage();
  const int32_t dim = block.args.head_dim;
  if (dim % kLanes == 0) {
    for (int64_t i = 0; i < int64_t{dim} * kPageTokens; i += kLanes) {
      Store(values + i, LoadKv(page, i, block.args.kv));
    }
    return;
  }
  for (int64_t key = 0; key < kPageTokens; ++key) {  // rows padded to whole vectors
    for (int64_t d = 0; d < dim; ++d) {
      const int64_t i = key * dim + d;
      values[key * block.at.width + d] = block.args.kv == KvType::kF16
                                             ? static_cast<float>(reinterpret_cast<const _Float16*>(page)[i])
                                             : reinterpret_cast<const float*>(page)[i];
    }
  }
}

template <int kCount>
void Score(const QueryBlock& block, int32_t i) {
  const float* keys = block.scratch + block.at.KPage();
  const float* q[kCount];
  for (int j = 0; j < kCount; ++j) q[j] = block.Query(i + j);
  Floats dot[kCount] = {};
  for (int64_t d = 0; d < block.args.head_dim; ++d) {
    const Floats key = Load(keys + d * kPageTokens);
    for (int j = 0; j < kCount; ++j) dot[j] = Fma(All(q[j][d]), key, dot[j]);
  }
  for (int j = 0; j < kCount; ++j) Store(block.Scores(i + j), dot[j] * block.args.scale);
}

// Scores become weights relative to the largest score so far.
void FoldSoftmax(const QueryBlock& block, int32_t i, int32_t keys) {
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  const Floats scores = Load(block.Scores(i));
  const float top = MaxOf(keys == kPageTokens ? scores : FirstOr(scores, keys, kLowest));
  Floats sum = Load(block.Sum(i));
  if (top > block.Max(i)) {
    const float rescale = Exp(All(block.Max(i) - top))[0];
    sum *= rescale;
    float* output = block.Output(i);
    for (int64_t d = 0; d < block.at.width; d += kLanes) Store(output + d, Load(output + d) * rescale);
    block.Max(i) = top;
  }
  Floats p = Exp(scores - block.Max(i));
  if (keys < kPageTokens) p = FirstOr(p, keys, 0);
  Store(block.Sum(i), sum + p);
  Store(block.Scores(i), p);
}

// output += p · v over `keys` keys, for kCount queries and kSlices * 16 dimensions from d.
template <int kCount, int kSlices>
PENSTOCK_LANES void Accumulate(const QueryBlock& block, int32_t i, int64_t d, int32_t keys) {
  const float* values = block.scratch + block.at.VPage() + d;
  Floats acc[kCount][kSlices];
  const float* p[kCount];
  for (int j = 0; j < kCount; ++j) {
    p[j] = block.Scores(i + j);
    for (int s = 0; s < kSlices; ++s) acc[j][s] = Load(block.Output(i + j) + d + s * kLanes);
  }
  for (int64_t key = 0; key < keys; ++key) {
    Floats v[kSlices];
    for (int s = 0; s < kSlices; ++s) v[s] = Load(values + key * block.at.width + s * kLanes);
    for (int j = 0; j < kCount; ++j) {
      for (int s = 0; s < kSlices; ++s) acc[j][s] = Fma(All(p[j][key]), v[s], acc[j][s]);
    }
  }
  for (int j = 0; j < kCount; ++j) {
    for (int s = 0; s < kSlices; ++s) Store(block.Output(i + j) + d + s * kLanes, acc[j][s]);
  }
}

template <int kCount>
void Accumulate(const QueryBlock& block, int32_t i, int32_t keys) {
  int64_t d = 0;
  for (; d + kValueSlices * kLanes <= block.at.width; d += kValueSlices * kLanes) {
    Accumulate<kCount, kValueSlices>(block, i, d, keys);
  }
  for (; d < block.at.width; d += kLanes) Accumulate<kCount, 1>(block, i, d, keys);
}

void ScoreAll(const QueryBlock& block, int32_t begin) {
  int32_t i = begin;
  for (; i + kScoreQueries <= block.count; i += kScoreQueries) Score<kScoreQueries>(block, i);
  switch (block.count - i) {
    case 7:
      return Score<7>(block, i);
    case 6:
      return Score<6>(block, i);
    case 5:
      return Score<5>(block, i);
    case 4:
      return Score<4>(block, i);
    case 3:
      return Score<3>(block, i);
    case 2:
      return Score<2>(block, i);
    case 1:
      return Score<1>(block, i);
    default:
      return;
  }
}

// Queries [begin, count) see something of the page; from `full` on they see all of it.
void AccumulateAll(const QueryBlock& block, int32_t page, int32_t begin, int32_t full) {
  for (int32_t i = begin; i < full; ++i) Accumulate<1>(block, i, block.Keys(i, page));
  int32_t i = full;
  for (; i + kValueQueries <= block.count; i += kValueQueries)
    Accumulate<kValueQueries>(block, i, kPageTokens);
  for (; i + 2 <= block.count; i += 2) Accumulate<2>(block, i, kPageTokens);
  if (i < block.count) Accumulate<1>(block, i, kPageTokens);
}

void AttendPage(const QueryBlock& block, int32_t page) {
  // Later queries see more: skip those that see nothing, then find the first that sees the whole page.
  int32_t begin = 0;
  while (block.Keys(begin, page) == 0) ++begin;
  int32_t full = begin;
  while (full < block.count && block.Keys(full, page) < kPageTokens) ++full;

  ConvertKeys(block, block.args.k_pages[page]);
  ConvertValues(block, block.args.v_pages[page]);
  ScoreAll(block, begin);
  for (int32_t i = begin; i < block.count; ++i) FoldSoftmax(block, i, block.Keys(i, page));
  AccumulateAll(block, page, begin, full);
}

void AttendBlock(const QueryBlock& block) {
  for (int32_t i = 0; i < block.count; ++i) {
    block.Max(i) = -std::numeric_limits<float>::infinity();
    std::memset(block.Sum(i), 0, kPageTokens * sizeof(float));
    std::memset(block.Output(i), 0, static_cast<size_t>(block.at.width) * sizeof(float));
  }
  const int32_t keys = block.args.first_pos + block.Row(block.count - 1) + 1;
  for (int32_t page = 0; page < PagesFor(keys); ++page) AttendPage(block, page);
  for (int32_t i = 0; i < block.count; ++i) {
    const float inverse = 1.0F / SumOf(Load(block.Sum(i)));
    const float* output = block.Output(i);
    float* out = block.Result(i);
    for (int32_t d = 0; d < block.args.head_dim; ++d) out[d] = output[d] * inverse;
  }
}

void Attend(const Attention& args, float* scratch) {
  const AttentionScratch at(args.head_dim);
  std::memset(scratch + at.VPage(), 0, static_cast<size_t>(at.width) * kPageTokens * sizeof(float));
  const int32_t queries = args.rows * args.group;
  for (int32_t first = 0; first < queries; first += kQueryBlock) {
    const int32_t left = queries - first;
    AttendBlock({args, first, left < kQueryBlock ? left : kQueryBlock, at, scratch});
  }
}

}  // namespace
}  // namespace penstock::kernels
