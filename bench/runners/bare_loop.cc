// bare_loop LIB_DIR MODEL THREADS CELLS: a plain llama_decode loop over batches that trace_driver printed,
// with the same context, threads and unified memory as the ggml runner, on the CPU.
//
// stdin: the number of batches, then one batch per line as trace_driver wrote it; stdout: one row with the
// nanoseconds of each batch, from filling it to finding the best token of every requested row.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <llama.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

namespace {

constexpr int kBatchTokens = 2048, kSlots = 32;

[[noreturn]] void Die(const std::string& why) {
  fmt::print(stderr, "bare_loop: {}\n", why);
  std::exit(1);
}

struct Piece {
  int64_t sequence = 0;
  int32_t start = 0;
  bool sample = false;
  std::vector<int32_t> tokens;
};

std::vector<Piece> Read(const std::string& line) {
  std::istringstream words(line);
  size_t pieces = 0;
  words >> pieces;
  std::vector<Piece> batch(pieces);
  for (Piece& piece : batch) {
    size_t tokens = 0;
    words >> piece.sequence >> piece.start >> piece.sample >> tokens;
    piece.tokens.resize(tokens);
    for (int32_t& token : piece.tokens) words >> token;
  }
  if (!words) Die("a batch ends too early");
  return batch;
}

class Loop {
 public:
  Loop(const char* path, int threads, uint32_t cells) : batch_(llama_batch_init(kBatchTokens, 0, 1)) {
    ggml_backend_dev_t none = nullptr;
    llama_model_params model_params = llama_model_default_params();
    model_params.devices = &none;
    model_params.n_gpu_layers = 0;
    llama_model* model = llama_model_load_from_file(path, model_params);
    if (model == nullptr) Die("no model");
    vocabulary_ = llama_vocab_n_tokens(llama_model_get_vocab(model));
    llama_context_params params = llama_context_default_params();
    params.n_ctx = cells;
    params.n_batch = kBatchTokens;
    params.n_ubatch = 512;
    params.n_seq_max = params.n_outputs_max = kSlots;
    params.n_threads = params.n_threads_batch = threads;
    params.kv_unified = params.swa_full = true;
    params.op_offload = false;
    context_ = llama_init_from_model(model, params);
    if (context_ == nullptr) Die("no context");
    ggml_backend_reg_t reg =
        ggml_backend_dev_backend_reg(ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU));
    const auto make = reinterpret_cast<decltype(&ggml_threadpool_new)>(
        ggml_backend_reg_get_proc_address(reg, "ggml_threadpool_new"));
    ggml_threadpool_params pool = ggml_threadpool_params_default(threads);
    ggml_threadpool_t made = make(&pool);
    llama_attach_threadpool(context_, made, made);
  }

  void Clear() { llama_memory_clear(llama_get_memory(context_), false); }

  int64_t Step(const std::vector<Piece>& pieces) {
    const auto begin = std::chrono::steady_clock::now();
    batch_.n_tokens = 0;
    for (const Piece& piece : pieces) {
      const auto slot = static_cast<int32_t>(piece.sequence % kSlots);
      if (piece.start == 0) llama_memory_seq_rm(llama_get_memory(context_), slot, -1, -1);
      for (size_t i = 0; i < piece.tokens.size(); ++i) {
        const int32_t n = batch_.n_tokens++;
        batch_.token[n] = piece.tokens[i];
        batch_.pos[n] = piece.start + static_cast<int32_t>(i);
        batch_.n_seq_id[n] = 1;
        batch_.seq_id[n][0] = slot;
        batch_.logits[n] = piece.sample && i + 1 == piece.tokens.size();
      }
    }
    if (llama_decode(context_, batch_) != 0) Die("llama_decode failed");
    for (int32_t i = 0; i < batch_.n_tokens; ++i) {
      if (batch_.logits[i] == 0) continue;
      const float* logits = llama_get_logits_ith(context_, i);
      best_ += std::max_element(logits, logits + vocabulary_) - logits;
    }
    return std::chrono::nanoseconds(std::chrono::steady_clock::now() - begin).count();
  }

 private:
  llama_batch batch_;
  llama_context* context_ = nullptr;
  int32_t vocabulary_ = 0;
  int64_t best_ = 0;  // keeps the compiler from removing the search for the best token
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) Die("usage: bare_loop LIB_DIR MODEL THREADS CELLS");
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  ggml_backend_load_all_from_path(argv[1]);
  Loop loop(argv[2], std::atoi(argv[3]), static_cast<uint32_t>(std::atoi(argv[4])));
  fmt::print("{{\"ready\":true,\"runner\":\"llama_decode loop\",\"kernel\":\"{}\"}}\n", llama_version());
  std::fflush(stdout);
  for (std::string line; std::getline(std::cin, line);) {
    std::vector<std::vector<Piece>> batches(std::stoul(line));
    for (auto& batch : batches) {
      if (!std::getline(std::cin, line)) Die("too few batches");
      batch = Read(line);
    }
    loop.Clear();
    std::vector<int64_t> took;
    for (const auto& batch : batches) took.push_back(loop.Step(batch));
    fmt::print("{{\"done\":true,\"ns\":[{}]}}\n", fmt::join(took, ","));
    std::fflush(stdout);
  }
  std::_Exit(0);  // skips ggml's own exit handlers
}
