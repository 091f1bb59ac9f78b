// Owners of libllama's objects.
#pragma once

#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <llama.h>

#include <cstdint>
#include <memory>

#include "base/tokens.h"

namespace penstock::ggml {

struct FreeModel {
  void operator()(llama_model* model) const { llama_model_free(model); }
};
struct FreeContext {
  void operator()(llama_context* context) const { llama_free(context); }
};
using ModelPtr = std::unique_ptr<llama_model, FreeModel>;
using ContextPtr = std::unique_ptr<llama_context, FreeContext>;

// Threads that wait between steps; without, libllama starts and ends its threads in each.
class Threads {
 public:
  explicit Threads(int count) {
    ggml_backend_dev_t cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    if (cpu == nullptr) return;
    ggml_backend_reg_t reg = ggml_backend_dev_backend_reg(cpu);
    const auto make = reinterpret_cast<decltype(&ggml_threadpool_new)>(
        ggml_backend_reg_get_proc_address(reg, "ggml_threadpool_new"));
    free_ = reinterpret_cast<decltype(&ggml_threadpool_free)>(
        ggml_backend_reg_get_proc_address(reg, "ggml_threadpool_free"));
    if (make == nullptr || free_ == nullptr) return;
    ggml_threadpool_params params = ggml_threadpool_params_default(count);
    pool_ = make(&params);
  }
  ~Threads() {
    if (pool_ != nullptr) free_(pool_);
  }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
  void Attach(llama_context* context) const {
    if (pool_ != nullptr) llama_attach_threadpool(context, pool_, pool_);
  }

 private:
  decltype(&ggml_threadpool_free) free_ = nullptr;
  ggml_threadpool_t pool_ = nullptr;
};

// A llama_batch, each of whose tokens belongs to one slot.
class Batch {
 public:
  explicit Batch(int32_t capacity) : capacity_(capacity), batch_(llama_batch_init(capacity, 0, 1)) {}
  ~Batch() { llama_batch_free(batch_); }
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  bool empty() const { return batch_.n_tokens == 0; }
  bool full() const { return batch_.n_tokens == capacity_; }
  const llama_batch& get() const { return batch_; }
  void Clear() { batch_.n_tokens = 0; }
  // Returns its row.
  int32_t Add(int32_t slot, int32_t position, Token token, bool logits) {
    const int32_t row = batch_.n_tokens++;
    batch_.token[row] = token;
    batch_.pos[row] = position;
    batch_.n_seq_id[row] = 1;
    batch_.seq_id[row][0] = slot;
    batch_.logits[row] = logits ? 1 : 0;
    return row;
  }

 private:
  const int32_t capacity_;
  llama_batch batch_;
};

}  // namespace penstock::ggml
