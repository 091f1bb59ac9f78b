// Attention with the lanes of kernels/lanes.h. Included like it.
//
// Queries (rows × heads of the group) are processed in blocks; for each block the pages are processed in
// order, in three steps: scores (a lane is a key), softmax fold (per query), output (a lane is a dimension).
// For many queries a page is converted to f32 once; for a few its halves are read directly, and several
// pages are scored at once, because the head_dim additions of one query form a chain with high latency.
// Scores of keys that a query may not see are computed and dropped; values of such keys are never read,
// so that the content of unwritten slots cannot leak.
#pragma once

#include <limits>

#include "kernels/kernels.h"
#include "kernels/lanes.h"
#include "kernels/versions.h"

namespace penstock::kernels {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();
constexpr int kPagesAtOnce = 4, kQueriesAtOnce = 2;  // scored together: kPagesAtOnce × up to kQueriesAtOnce

// Queries [0, count) of one block and their part of the scratch.
struct QueryBlock {
  const Attention& args;
  AttentionScratch at;
  float* scratch;
  int32_t count = 0;
  const float* query[kQueryBlock];
  float* out[kQueryBlock];
  int32_t keys[kQueryBlock];  // how many keys of the sequence the query sees; never decreases with i

  // The queries after the first `first` ones: query i is row i / group, head i % group.
  QueryBlock(const Attention& a, int32_t first, float* s) : args(a), at(a.head_dim), scratch(s) {
    const int32_t queries = a.rows * a.group;
    count = queries - first < kQueryBlock ? queries - first : kQueryBlock;
    int64_t row = first / a.group, head = first % a.group;
    for (int32_t i = 0; i < count; ++i) {
      query[i] = a.q + row * a.q_stride + head * a.head_dim;
      out[i] = a.out + row * a.out_stride + head * a.head_dim;
      keys[i] = a.first_pos + static_cast<int32_t>(row) + 1;
      if (++head == a.group) head = 0, ++row;
    }
  }

  PENSTOCK_LANES float* Output(int32_t i) const { return scratch + at.Output() + i * at.width; }
  PENSTOCK_LANES float* Sum(int32_t i) const { return scratch + at.Sum() + int64_t{i} * kPageTokens; }
  PENSTOCK_LANES float& Max(int32_t i) const { return scratch[at.Max() + i]; }
  // Scores of the p-th page of those that are scored at once.
  PENSTOCK_LANES float* Scores(int32_t i, int32_t p) const {
    return scratch + at.Scores() + int64_t{p * kQueriesAtOnce + i} * kPageTokens;
  }
  // Keys of page `page` that query i sees: 0 … 16.
  PENSTOCK_LANES int32_t KeysIn(int32_t page, int32_t i) const {
    const int32_t in = keys[i] - page * kPageTokens;
    return in < 0 ? 0 : in < kPageTokens ? in : kPageTokens;
  }
};

PENSTOCK_LANES Floats LoadKv(const float* p) {
  return Load(p);
}
PENSTOCK_LANES Floats LoadKv(const _Float16* p) {
  return LoadHalves(p);
}

// --- scores ---

// Queries [i, i + kCount) against kPages pages.
template <int kCount, int kPages, class T>
PENSTOCK_LANES void Score(const QueryBlock& block, int32_t i, const T* const* keys) {
  Floats dot[kCount][kPages] = {};
  for (int64_t d = 0; d < block.args.head_dim; ++d) {
    Floats key[kPages];
    for (int p = 0; p < kPages; ++p) key[p] = LoadKv(keys[p] + d * kPageTokens);
    for (int j = 0; j < kCount; ++j) {
      const Floats q = All(block.query[i + j][d]);
      for (int p = 0; p < kPages; ++p) dot[j][p] = Fma(q, key[p], dot[j][p]);
    }
  }
  for (int j = 0; j < kCount; ++j) {
    for (int p = 0; p < kPages; ++p) Store(block.Scores(i + j, p), dot[j][p] * block.args.scale);
  }
}

// Queries [i, i + count), count ≤ kScoreQueries, against one page.
template <class T>
void ScoreFew(const QueryBlock& block, int32_t i, int32_t count, const T* keys) {
  switch (count) {
#define PENSTOCK_COUNT(C)                                                     \
  case C:                                                                     \
    if constexpr (C <= kScoreQueries) return Score<C, 1, T>(block, i, &keys); \
    break;
    PENSTOCK_COUNT(1)
    PENSTOCK_COUNT(2)
    PENSTOCK_COUNT(3)
    PENSTOCK_COUNT(4)
    PENSTOCK_COUNT(5)
    PENSTOCK_COUNT(6)
    PENSTOCK_COUNT(7)
    PENSTOCK_COUNT(8)
#undef PENSTOCK_COUNT
    default:
      break;
  }
}

template <class T>
void ScorePage(const QueryBlock& block, int32_t begin, const T* keys) {
  for (int32_t i = begin; i < block.count; i += kScoreQueries) {
    const int32_t left = block.count - i;
    ScoreFew(block, i, left < kScoreQueries ? left : kScoreQueries, keys);
  }
}

// --- softmax ---

// Scores of page p become weights relative to the largest score so far.
PENSTOCK_LANES void FoldSoftmax(const QueryBlock& block, int32_t i, int32_t p, int32_t keys) {
  const Floats scores = Load(block.Scores(i, p));
  const float top = MaxOf(keys == kPageTokens ? scores : FirstOr(scores, keys, kLowest));
  Floats sum = Load(block.Sum(i));
  if (top > block.Max(i)) {
    const float rescale = Exp(All(block.Max(i) - top))[0];
    sum *= rescale;
    float* output = block.Output(i);
    for (int64_t d = 0; d < block.at.width; d += kLanes) Store(output + d, Load(output + d) * rescale);
    block.Max(i) = top;
  }
  Floats weights = Exp(scores - block.Max(i));
  if (keys < kPageTokens) weights = FirstOr(weights, keys, 0);
  Store(block.Sum(i), sum + weights);
  Store(block.Scores(i, p), weights);
}

// --- output ---

// A page's values: [16][stride]; rows can be read in whole vectors up to the head's width.
template <class T>
struct Values {
  const T* at;
  int64_t stride;
};

// output += weights · values over `keys` keys, for kCount queries and kSlices * 16 dimensions from d.
template <int kCount, int kSlices, class T>
PENSTOCK_LANES void AddSlices(const QueryBlock& block, int32_t i, int32_t p, int64_t d, int32_t keys,
                              Values<T> values) {
  Floats acc[kCount][kSlices];
  const float* weights[kCount];
  for (int j = 0; j < kCount; ++j) {
    weights[j] = block.Scores(i + j, p);
    for (int s = 0; s < kSlices; ++s) acc[j][s] = Load(block.Output(i + j) + d + s * kLanes);
  }
  for (int64_t key = 0; key < keys; ++key) {
    Floats v[kSlices];
    for (int s = 0; s < kSlices; ++s) v[s] = LoadKv(values.at + key * values.stride + d + s * kLanes);
    for (int j = 0; j < kCount; ++j) {
      for (int s = 0; s < kSlices; ++s) acc[j][s] = Fma(All(weights[j][key]), v[s], acc[j][s]);
    }
  }
  for (int j = 0; j < kCount; ++j) {
    for (int s = 0; s < kSlices; ++s) Store(block.Output(i + j) + d + s * kLanes, acc[j][s]);
  }
}

template <int kCount, class T>
PENSTOCK_LANES void AddValues(const QueryBlock& block, int32_t i, int32_t p, int32_t keys, Values<T> values) {
  int64_t d = 0;
  for (; d + kValueSlices * kLanes <= block.at.width; d += kValueSlices * kLanes) {
    AddSlices<kCount, kValueSlices>(block, i, p, d, keys, values);
  }
  for (; d < block.at.width; d += kLanes) AddSlices<kCount, 1>(block, i, p, d, keys, values);
}

// Folds page `page`, whose scores are the p-th.
template <class T>
void FoldPage(const QueryBlock& block, int32_t page, int32_t p, Values<T> values) {
  // Later queries see more keys: first those that see none, then those that see a part, then the rest.
  int32_t i = 0;
  while (block.KeysIn(page, i) == 0) ++i;
  for (int32_t keys; i < block.count && (keys = block.KeysIn(page, i)) < kPageTokens; ++i) {
    FoldSoftmax(block, i, p, keys);
    AddValues<1>(block, i, p, keys, values);
  }
  for (int32_t j = i; j < block.count; ++j) FoldSoftmax(block, j, p, kPageTokens);
  for (; i + kValueQueries <= block.count; i += kValueQueries) {
    AddValues<kValueQueries>(block, i, p, kPageTokens, values);
  }
  for (; i + 2 <= block.count; i += 2) AddValues<2>(block, i, p, kPageTokens, values);
  if (i < block.count) AddValues<1>(block, i, p, kPageTokens, values);
}

// --- the pages of one block ---

// Prefetches page `page` while an earlier one is computed: pages are scattered, so the hardware cannot
// predict them.
template <class T>
PENSTOCK_LANES void PrefetchPage(const QueryBlock& block, int32_t page, int32_t pages) {
  if (page >= pages) return;
  const int64_t bytes = block.args.head_dim * int64_t{kPageTokens} * static_cast<int64_t>(sizeof(T));
  for (int64_t line = 0; line < bytes; line += 64) {
    __builtin_prefetch(block.args.k_pages[page] + line, 0, 2);
    __builtin_prefetch(block.args.v_pages[page] + line, 0, 2);
  }
}

// Reads the pages directly. REQUIRES: head_dim % 16 == 0.
template <class T>
void AttendDirectly(const QueryBlock& block, int32_t pages) {
  const auto* keys = reinterpret_cast<const T* const*>(block.args.k_pages);
  const auto* values = reinterpret_cast<const T* const*>(block.args.v_pages);
  const int64_t dim = block.args.head_dim;
  int32_t page = 0;
  if (block.count <= kQueriesAtOnce) {
    for (; page + kPagesAtOnce <= pages; page += kPagesAtOnce) {
      if (block.count == 1) {
        Score<1, kPagesAtOnce>(block, 0, keys + page);
      } else {
        Score<2, kPagesAtOnce>(block, 0, keys + page);
      }
      for (int32_t p = 0; p < kPagesAtOnce; ++p) {
        PrefetchPage<T>(block, page + kPagesAtOnce + p, pages);
        FoldPage<T>(block, page + p, p, {values[page + p], dim});
      }
    }
  }
  for (; page < pages; ++page) {
    PrefetchPage<T>(block, page + 2, pages);
    ScorePage(block, 0, keys[page]);
    FoldPage<T>(block, page, 0, {values[page], dim});
  }
}

// Widens `rows` rows of `from` floats to rows of `to` floats, a multiple of 16.
template <class T>
void Convert(const T* page, int64_t rows, int64_t from, int64_t to, float* out) {
  if (from == to) {
    for (int64_t i = 0; i < rows * to; i += kLanes) Store(out + i, LoadKv(page + i));
    return;
  }
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < from; ++i) out[row * to + i] = static_cast<float>(page[row * from + i]);
  }
}

// Converts the pages one by one.
template <class T>
void AttendConverted(const QueryBlock& block, int32_t pages) {
  float *keys = block.scratch + block.at.KPage(), *values = block.scratch + block.at.VPage();
  const int64_t dim = block.args.head_dim, width = block.at.width;
  std::memset(values, 0, static_cast<size_t>(width) * kPageTokens * sizeof(float));  // for rows' padding
  for (int32_t page = 0; page < pages; ++page) {
    PrefetchPage<T>(block, page + 2, pages);
    Convert(reinterpret_cast<const T*>(block.args.k_pages[page]), dim, kPageTokens, kPageTokens, keys);
    Convert(reinterpret_cast<const T*>(block.args.v_pages[page]), kPageTokens, dim, width, values);
    ScorePage<float>(block, 0, keys);
    FoldPage<float>(block, page, 0, {values, width});
  }
}

void AttendBlock(const QueryBlock& block) {
  for (int32_t i = 0; i < block.count; ++i) {
    block.Max(i) = kLowest;
    std::memset(block.Sum(i), 0, kPageTokens * sizeof(float));
    std::memset(block.Output(i), 0, static_cast<size_t>(block.at.width) * sizeof(float));
  }
  const int32_t pages = PagesFor(block.keys[block.count - 1]);
  const bool whole = block.args.head_dim % kLanes == 0;
  if (block.args.kv == KvType::kF32) {
    whole ? AttendDirectly<float>(block, pages) : AttendConverted<float>(block, pages);
  } else {
    whole&& block.count <= kScoreQueries ? AttendDirectly<_Float16>(block, pages)
                                         : AttendConverted<_Float16>(block, pages);
  }
  for (int32_t i = 0; i < block.count; ++i) {
    const float inverse = 1.0F / SumOf(Load(block.Sum(i)));
    const float* output = block.Output(i);
    for (int32_t d = 0; d < block.args.head_dim; ++d) block.out[i][d] = output[d] * inverse;
  }
}

void Attend(const Attention& args, float* scratch) {
  for (int32_t first = 0; first < args.rows * args.group; first += kQueryBlock) {
    AttendBlock(QueryBlock(args, first, scratch));
  }
}

}  // namespace
}  // namespace penstock::kernels
