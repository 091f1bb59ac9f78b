#include "model/operations/forward.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace penstock {
namespace {

constexpr int32_t kRowsPerAttention = 32;  // of one sequence's chunk, for one KV head
constexpr int32_t kMinRows = 4;            // one worker computes fewer rows alone: waking another costs more
constexpr int32_t kOutputs = 128;          // outputs of one matrix at a time; a multiple of the kernels' 16

void Grow(std::vector<float>& v, int64_t size) {
  if (v.size() < static_cast<size_t>(size)) v.resize(static_cast<size_t>(size));
}

}  // namespace

Forward::Forward(const ModelConfig& config, const kernels::Kernels& kernels, chip::ThreadPool& pool,
                 bool integer, const Rope& rope, const KvPages& kv, ForwardBuffers& buffers,
                 std::span<const Chunk> chunks)
    : c_(config), k_(kernels), pool_(pool), integer_(integer), kv_(kv), b_(buffers), pairs_(rope.pairs()) {
  for (const Chunk& chunk : chunks) AddPart(chunk);
  PlanAttention();
  Grow(b_.x, rows_ * int64_t{c_.hidden});
  Grow(b_.normalised, rows_ * int64_t{c_.hidden});
  Grow(b_.projected, rows_ * int64_t{c_.hidden});
  Grow(b_.query, rows_ * query_width());
  Grow(b_.attended, rows_ * query_width());
  Grow(b_.key, rows_ * key_width());
  Grow(b_.value, rows_ * key_width());
  Grow(b_.cos, rows_ * int64_t{pairs_});
  Grow(b_.sin, rows_ * int64_t{pairs_});
  const auto workers = static_cast<size_t>(pool_.workers());
  b_.attention_scratch.resize(workers);
  b_.key_pages.resize(workers);
  b_.value_pages.resize(workers);
  ForRows([&](int32_t row) {
    const Part& part = parts_[static_cast<size_t>(part_of_row_[static_cast<size_t>(row)])];
    rope.CosSin(part.start + row - part.row, b_.cos.data() + int64_t{row} * pairs_,
                b_.sin.data() + int64_t{row} * pairs_);
  });
}

void Forward::AddPart(const Chunk& chunk) {
  const auto rows = static_cast<int32_t>(chunk.tokens.size());
  parts_.push_back({chunk.start, rows_, rows, std::min(chunk.logits, rows), chunk.pages});
  part_of_row_.insert(part_of_row_.end(), chunk.tokens.size(), static_cast<int32_t>(parts_.size()) - 1);
  tokens_.insert(tokens_.end(), chunk.tokens.begin(), chunk.tokens.end());
  rows_ += rows;
}

// The last rows read the most keys and take longest. They are computed first, so that no worker is left alone
// with one at the end.
void Forward::PlanAttention() {
  attention_.clear();
  for (size_t p = 0; p < parts_.size(); ++p) {
    for (int32_t end = parts_[p].rows; end > 0; end -= std::min(end, kRowsPerAttention)) {
      for (int32_t head = 0; head < c_.kv_heads; ++head) {
        attention_.push_back({static_cast<int32_t>(p), head, std::max(0, end - kRowsPerAttention), end});
      }
    }
  }
}

int64_t Forward::RowsAtOnce(int64_t rows) const {
  return std::max<int64_t>(kMinRows, rows / (int64_t{4} * pool_.workers()));
}

int32_t Forward::OutputsAtOnce(int64_t outputs) const {
  const int64_t fair = outputs / (int64_t{4} * pool_.workers()) / 16 * 16;
  return static_cast<int32_t>(std::clamp<int64_t>(fair, 16, kOutputs));
}

void Forward::Quantise(const std::vector<float>& x, int64_t k, int32_t rows, kernels::Activations& a) {
  a.Reset(x.data(), k, rows, static_cast<int32_t>(k));
  if (!integer_) return;
  pool_.For(rows, RowsAtOnce(rows), [&](int64_t begin, int64_t end, int) {
    k_.quantize_rows(static_cast<int32_t>(begin), static_cast<int32_t>(end), a);
  });
}

void Forward::Normalise(std::span<const float> weight) {
  auto& a = b_.activations;
  a.Reset(b_.normalised.data(), c_.hidden, rows_, c_.hidden);
  pool_.For(rows_, RowsAtOnce(rows_), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      k_.rms_norm(b_.x.data() + r * c_.hidden, weight.data(), c_.hidden, c_.norm_eps,
                  b_.normalised.data() + r * c_.hidden);
    }
    if (!integer_) return;
    k_.quantize_rows(static_cast<int32_t>(begin), static_cast<int32_t>(end), a);
  });
}

void Forward::MultiplyRange(const Product& product, const kernels::Activations& a, int32_t begin,
                            int32_t end) {
  const auto& [linear, out] = product;
  const int64_t stride = linear->weight.n();
  k_.matmul(linear->weight, begin, end, a, out, stride);
  if (linear->bias.empty()) return;
  for (int32_t r = 0; r < a.rows(); ++r)
    k_.add(out + r * stride + begin, linear->bias.data() + begin, end - begin);
}

template <class After>
void Forward::Multiply(std::span<const Product> products, const kernels::Activations& a, const After& after) {
  if (a.rows() == 0) return;
  int64_t outputs = 0;
  for (const Product& p : products) outputs += p.linear->weight.n();
  const int32_t width = OutputsAtOnce(outputs);
  const auto ranges = [&](const Product& p) { return (p.linear->weight.n() + width - 1) / width; };
  int64_t count = 0;
  for (const Product& p : products) count += ranges(p);
  pool_.For(count, 1, [&](int64_t first, int64_t last, int) {
    for (int64_t item = first; item < last; ++item) {
      int64_t index = item;
      const Product* p = products.data();
      for (; index >= ranges(*p); ++p) index -= ranges(*p);
      const auto begin = static_cast<int32_t>(index) * width;
      const int32_t end = std::min(begin + width, p->linear->weight.n());
      MultiplyRange(*p, a, begin, end);
      after(begin, end);
    }
  });
}

void Forward::ProjectQkv(const Layer& layer) {
  const Product products[] = {
      {&layer.query, b_.query.data()}, {&layer.key, b_.key.data()}, {&layer.value, b_.value.data()}};
  Multiply(products, b_.activations, [](int32_t, int32_t) {});
}

void Forward::NormaliseHeads(std::span<const float> query, std::span<const float> key) {
  const auto normalise = [&](float* heads, int32_t count, std::span<const float> weight) {
    for (int32_t h = 0; h < count; ++h, heads += c_.head_dim) {
      k_.rms_norm(heads, weight.data(), c_.head_dim, c_.norm_eps, heads);
    }
  };
  ForRows([&](int32_t row) {
    normalise(b_.query.data() + row * query_width(), c_.heads, query);
    normalise(b_.key.data() + row * key_width(), c_.kv_heads, key);
  });
}

void Forward::RotateAndStore() {
  ForRows([&](int32_t row) {
    const Part& part = parts_[static_cast<size_t>(part_of_row_[static_cast<size_t>(row)])];
    const int32_t position = part.start + row - part.row, slot = position % kPageTokens;
    const PageId page = part.pages[static_cast<size_t>(position / kPageTokens)];
    const float* cos = b_.cos.data() + int64_t{row} * pairs_;
    const float* sin = b_.sin.data() + int64_t{row} * pairs_;
    float* query = b_.query.data() + row * query_width();
    for (int32_t h = 0; h < c_.heads; ++h)
      k_.rope(query + int64_t{h} * c_.head_dim, cos, sin, c_.rotary_dim, c_.rope_neox);
    for (int32_t h = 0; h < c_.kv_heads; ++h) {
      float* key = b_.key.data() + row * key_width() + int64_t{h} * c_.head_dim;
      const float* value = b_.value.data() + row * key_width() + int64_t{h} * c_.head_dim;
      k_.rope(key, cos, sin, c_.rotary_dim, c_.rope_neox);
      k_.store_kv(key, value, c_.head_dim, slot, kv_.type(), kv_.Keys(page, layer_, h),
                  kv_.Values(page, layer_, h));
    }
  });
}

void Forward::Attend() {
  if (layer_ == c_.layers - 1) KeepWantedRows();
  pool_.For(static_cast<int64_t>(attention_.size()), 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t i = begin; i < end; ++i) AttendItem(attention_[static_cast<size_t>(i)], worker);
  });
}

void Forward::AttendItem(const AttentionItem& item, int worker) {
  const Part& part = parts_[static_cast<size_t>(item.part)];
  auto& keys = b_.key_pages[static_cast<size_t>(worker)];
  auto& values = b_.value_pages[static_cast<size_t>(worker)];
  keys.clear(), values.clear();
  for (int32_t p = 0; p < PagesFor(part.start + item.end); ++p) {
    const PageId page = part.pages[static_cast<size_t>(p)];
    keys.push_back(kv_.Keys(page, layer_, item.kv_head));
    values.push_back(kv_.Values(page, layer_, item.kv_head));
  }
  const int32_t group = c_.heads / c_.kv_heads;
  const int64_t first = (part.row + item.begin) * query_width() + int64_t{item.kv_head} * group * c_.head_dim;
  const kernels::Attention attention{.q = b_.query.data() + first,
                                     .q_stride = query_width(),
                                     .out = b_.attended.data() + first,
                                     .out_stride = query_width(),
                                     .rows = item.end - item.begin,
                                     .first_pos = part.start + item.begin,
                                     .group = group,
                                     .head_dim = c_.head_dim,
                                     .scale = 1 / std::sqrt(static_cast<float>(c_.head_dim)),
                                     .k_pages = keys.data(),
                                     .v_pages = values.data(),
                                     .kv = kv_.type()};
  auto& scratch = b_.attention_scratch[static_cast<size_t>(worker)];
  Grow(scratch, kernels::AttentionScratchFloats(attention));
  k_.attention(attention, scratch.data());
}

// After the last layer's keys and values are stored, only the rows with requested logits are needed.
void Forward::KeepWantedRows() {
  std::vector<Part> kept;
  int32_t rows = 0;
  for (const Part& part : parts_) {
    const int32_t skip = part.rows - part.wanted;
    if (part.wanted == 0) continue;
    const int64_t from = part.row + skip, count = part.wanted;
    std::memmove(b_.x.data() + int64_t{rows} * c_.hidden, b_.x.data() + from * c_.hidden,
                 static_cast<size_t>(count * c_.hidden) * sizeof(float));
    std::memmove(b_.query.data() + rows * query_width(), b_.query.data() + from * query_width(),
                 static_cast<size_t>(count * query_width()) * sizeof(float));
    kept.push_back({part.start + skip, rows, part.wanted, part.wanted, part.pages});
    rows += part.wanted;
  }
  parts_ = std::move(kept);
  rows_ = rows;
  PlanAttention();
}

void Forward::AddToX(const std::vector<float>& out, int32_t begin, int32_t end) {
  for (int32_t r = 0; r < rows_; ++r) {
    k_.add(x(r) + begin, out.data() + int64_t{r} * c_.hidden + begin, end - begin);
  }
}

void Forward::AddProjected(const Linear& output) {
  Quantise(b_.attended, query_width(), rows_, b_.activations);
  const Product product{&output, b_.projected.data()};
  Multiply({&product, 1}, b_.activations,
           [&](int32_t begin, int32_t end) { AddToX(b_.projected, begin, end); });
}

// Gate and up of the same outputs are computed together, while both are in the CPU cache.
const kernels::Activations& Forward::GateUp(const FeedForward& ff, const kernels::Activations& a) {
  const int64_t width = ff.gate.weight.n();
  Grow(b_.gate, a.rows() * width);
  Grow(b_.up, a.rows() * width);
  const Product gate{&ff.gate, b_.gate.data()}, up{&ff.up, b_.up.data()};
  Multiply({&gate, 1}, a, [&](int32_t begin, int32_t end) {
    MultiplyRange(up, a, begin, end);
    for (int32_t r = 0; r < a.rows(); ++r) {
      float* g = b_.gate.data() + r * width + begin;
      k_.silu_mul(g, b_.up.data() + r * width + begin, end - begin, g);
    }
  });
  Quantise(b_.gate, width, a.rows(), b_.gated);
  return b_.gated;
}

void Forward::AddFeedForward(const FeedForward& ff) {
  const auto& gated = GateUp(ff, b_.activations);
  const Product down{&ff.down, b_.projected.data()};
  Multiply({&down, 1}, gated, [&](int32_t begin, int32_t end) { AddToX(b_.projected, begin, end); });
}

void Forward::Project(const Linear& linear, float* out) {
  const Product product{&linear, out};
  Multiply({&product, 1}, b_.activations, [](int32_t, int32_t) {});
}

void Forward::ProjectPrecisely(const Linear& linear, std::vector<float>& logits) {
  const int64_t outputs = linear.weight.n(), size = rows_ * int64_t{c_.hidden};
  const bool integer = linear.weight.integer();
  Grow(logits, outputs * rows_ * (integer ? 2 : 1));
  if (!integer) return Project(linear, logits.data());
  Grow(b_.with_residual, 2 * size);
  ForRows([&](int32_t row) {
    float* to = b_.with_residual.data() + int64_t{row} * c_.hidden;
    std::copy_n(b_.normalised.data() + int64_t{row} * c_.hidden, c_.hidden, to);
    Residual(b_.activations, row, to + size);
  });
  Quantise(b_.with_residual, c_.hidden, 2 * rows_, b_.precise);
  const Product product{&linear, logits.data()};
  Multiply({&product, 1}, b_.precise, [&](int32_t begin, int32_t end) {
    for (int32_t r = 0; r < rows_; ++r) {
      float* out = logits.data() + r * outputs + begin;
      k_.add(out, out + rows_ * outputs, end - begin);
    }
  });
}

void Forward::Residual(const kernels::Activations& a, int32_t row, float* out) const {
  for (int32_t i = 0; i < a.k(); ++i) {
    const auto& block = *a.block(i / kernels::kSuper, row);
    const int32_t within = i % kernels::kSuper;
    out[i] = a.x(row)[i] - block.scale[within / kernels::kGroup] * static_cast<float>(block.q[within]);
  }
}

void Forward::AddExperts(const Layer& layer) {
  const auto by_expert = Route(layer.router);
  for (size_t e = 0; e < by_expert.size(); ++e) {
    if (!by_expert[e].empty()) AddExpert(layer.experts[e], by_expert[e]);
  }
}

std::vector<std::vector<Forward::Routed>> Forward::Route(const Linear& router) {
  Grow(b_.router, int64_t{rows_} * c_.experts);
  Project(router, b_.router.data());
  std::vector<std::vector<Routed>> by_expert(static_cast<size_t>(c_.experts));
  for (int32_t row = 0; row < rows_; ++row) {
    float* weights = b_.router.data() + int64_t{row} * c_.experts;
    k_.softmax(weights, c_.experts);
    RouteRow(row, weights, by_expert);
  }
  return by_expert;
}

// Chooses the row's best experts; of equal ones the first. Overwrites `weights`.
void Forward::RouteRow(int32_t row, float* weights, std::vector<std::vector<Routed>>& by_expert) const {
  std::vector<std::pair<size_t, float>> chosen;
  float sum = 0;
  for (int32_t i = 0; i < c_.experts_used; ++i) {
    const auto best = std::max_element(weights, weights + c_.experts) - weights;
    chosen.emplace_back(static_cast<size_t>(best), weights[best]);
    sum += weights[best];
    weights[best] = -1;
  }
  for (const auto& [expert, weight] : chosen) {
    by_expert[expert].push_back({row, c_.normalise_experts ? weight / sum : weight});
  }
}

void Forward::AddExpert(const FeedForward& expert, std::span<const Routed> routed) {
  const auto count = static_cast<int32_t>(routed.size());
  const int64_t hidden = c_.hidden;
  Grow(b_.expert_in, count * hidden);
  Grow(b_.expert_out, count * hidden);
  for (int32_t i = 0; i < count; ++i) {
    std::copy_n(b_.normalised.data() + routed[static_cast<size_t>(i)].row * hidden, hidden,
                b_.expert_in.data() + i * hidden);
  }
  Quantise(b_.expert_in, hidden, count, b_.expert_activations);
  const auto& gated = GateUp(expert, b_.expert_activations);
  const Product down{&expert.down, b_.expert_out.data()};
  Multiply({&down, 1}, gated, [&](int32_t begin, int32_t end) {
    for (int32_t i = 0; i < count; ++i) {
      const auto& [row, weight] = routed[static_cast<size_t>(i)];
      k_.add_scaled(x(row) + begin, b_.expert_out.data() + i * hidden + begin, weight, end - begin);
    }
  });
}

}  // namespace penstock
