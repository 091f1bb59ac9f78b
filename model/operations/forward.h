// Forward: computes one step of a model: rows of activations, and the operations that layers are written
// with. The rows are all tokens of the step, of any sequences, prefill and decode alike; the result of a
// row does not depend on the other rows (kernels/kernels.h, the numeric contract).
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/tokens.h"
#include "chip/threads.h"
#include "kernels/kernels.h"
#include "kernels/matrix.h"
#include "model/files/config.h"
#include "model/memory/kv.h"
#include "model/operations/layer.h"
#include "model/operations/rope.h"

namespace penstock {

// Consecutive tokens of one sequence. `pages` covers [0, start + tokens.size()); keys and values before
// `start` are already in them.
struct Chunk {
  int32_t start = 0;
  std::span<const Token> tokens;
  std::span<const PageId> pages;
  int32_t logits = 0;  // logits are requested for this many of the last tokens
};

// Memory that is reused from step to step; it grows to the size of the largest step.
struct ForwardBuffers {
  std::vector<float> x, normalised, query, key, value, attended, gate, up, projected, cos, sin;
  std::vector<float> router, expert_in, expert_out, with_residual;
  // The int8 forms of h or attended; of gate; of expert_in; of with_residual.
  kernels::Activations activations, gated, expert_activations, precise;
  std::vector<std::vector<float>> attention_scratch;                  // by worker
  std::vector<std::vector<const std::byte*>> key_pages, value_pages;  // by worker
};

class Forward {
 public:
  // `integer`: whether some weights multiply int8 activations, which are then computed.
  Forward(const ModelConfig& config, const kernels::Kernels& kernels, chip::ThreadPool& pool, bool integer,
          const Rope& rope, const KvPages& kv, ForwardBuffers& buffers, std::span<const Chunk> chunks);

  int32_t rows() const { return rows_; }
  float* x(int32_t row) { return b_.x.data() + int64_t{row} * c_.hidden; }  // [hidden]
  // fn(row) for every row, shared among the workers.
  template <class Fn>
  void ForRows(const Fn& fn) {
    pool_.For(rows_, RowsAtOnce(rows_), [&](int64_t begin, int64_t end, int) {
      for (int64_t row = begin; row < end; ++row) fn(static_cast<int32_t>(row));
    });
  }
  Token token(int32_t row) const { return tokens_[static_cast<size_t>(row)]; }

  void BeginLayer(int32_t layer) { layer_ = layer; }

  // h = rms_norm(x) · weight: the input of the next projections.
  void Normalise(std::span<const float> weight);
  // q, k, v = projections of h.
  void ProjectQkv(const Layer& layer);
  // Normalises each head of q and k separately.
  void NormaliseHeads(std::span<const float> query, std::span<const float> key);
  // Rotates q and k by their positions, and writes k and v to their pages.
  void RotateAndStore();
  // attended = attention of q over the pages. In the last layer, only for the rows whose logits are
  // requested: from then on rows() counts only those.
  void Attend();
  // x += W attended.
  void AddProjected(const Linear& output);
  // x += feed-forward(h).
  void AddFeedForward(const FeedForward& ff);
  // x += Σ weight_e · expert_e(h) over each row's experts, in ascending order of e.
  void AddExperts(const Layer& layer);
  // out[row][n] = W h; out: [rows, W.n].
  void Project(const Linear& linear, float* out);
  // The same with activations of 15 bits instead of 8: the remainder of h after rounding to int8 is
  // multiplied as additional rows, in the same pass over W. Rounding h matters most in the last matrix:
  // without this the output matrix causes a quarter of all divergence from f32. logits: grows to [2 · rows,
  // W.n]; the first half is the result.
  void ProjectPrecisely(const Linear& linear, std::vector<float>& logits);

 private:
  struct Part {  // a chunk's rows
    int32_t start = 0, row = 0, rows = 0, wanted = 0;
    std::span<const PageId> pages;
  };
  struct AttentionItem {  // a worker computes one of these at a time
    int32_t part = 0, kv_head = 0, begin = 0, end = 0;
  };
  struct Product {
    const Linear* linear;
    float* out;  // [rows, linear's n]
  };
  struct Routed {
    int32_t row = 0;
    float weight = 0;
  };

  int64_t query_width() const { return int64_t{c_.heads} * c_.head_dim; }
  int64_t key_width() const { return int64_t{c_.kv_heads} * c_.head_dim; }
  int64_t RowsAtOnce(int64_t rows) const;
  int32_t OutputsAtOnce(int64_t outputs) const;

  void AddPart(const Chunk& chunk);
  void PlanAttention();
  void Quantise(const std::vector<float>& x, int64_t k, int32_t rows, kernels::Activations& a);
  void MultiplyRange(const Product& product, const kernels::Activations& a, int32_t begin, int32_t end);
  // Computes all products of a's rows, and calls after(n_begin, n_end) for each range of outputs, in any
  // order.
  template <class After>
  void Multiply(std::span<const Product> products, const kernels::Activations& a, const After& after);
  // x += out for outputs [begin, end) of rows_ rows.
  void AddToX(const std::vector<float>& out, int32_t begin, int32_t end);
  // gate = silu(gate(a)) · up(a), ready for the down projection.
  const kernels::Activations& GateUp(const FeedForward& ff, const kernels::Activations& a);

  // x minus the int8 form of a's row.
  void Residual(const kernels::Activations& a, int32_t row, float* out) const;
  void AttendItem(const AttentionItem& item, int worker);
  void KeepWantedRows();
  std::vector<std::vector<Routed>> Route(const Linear& router);
  void RouteRow(int32_t row, float* weights, std::vector<std::vector<Routed>>& by_expert) const;
  void AddExpert(const FeedForward& expert, std::span<const Routed> routed);

  const ModelConfig& c_;
  const kernels::Kernels& k_;
  chip::ThreadPool& pool_;
  const bool integer_;
  const KvPages& kv_;
  ForwardBuffers& b_;
  std::vector<Part> parts_;
  std::vector<AttentionItem> attention_;
  std::vector<int32_t> part_of_row_;
  std::vector<Token> tokens_;  // by row
  int32_t rows_ = 0, layer_ = 0;
  const int32_t pairs_;  // of a rotation
};

}  // namespace penstock
