// llama_driver LIB_DIR MODEL.gguf [THREADS]: llama.cpp's engine with driver_protocol.h.
//
// Uses its best known settings on a CPU: flash attention on, its own weight repacking on, KV in f16, output
// only for the requested rows. Each sequence has its own part of the KV cache, as in llama-server; this is
// faster than one unified cache if sequences share no prefix.
#include <ggml-backend.h>
#include <llama.h>

#include <cstdlib>
#include <cstring>

#include "bench/serve/driver_protocol.h"

namespace {

using penstock::bench::Driver;
using penstock::bench::Piece;

constexpr int kContext = 16384;  // tokens of all sequences together
constexpr int kStreams = 16;

[[noreturn]] void Die(const std::string& why) {
  fmt::print(stderr, "llama_driver: {}\n", why);
  std::exit(1);
}

// The file name of the CPU backend that ggml chose among its versions: "libggml-cpu-zen4.so".
std::string CpuBackendName() {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    const size_t at = line.find("libggml-cpu-");
    if (at != std::string::npos) return line.substr(at + 12, line.size() - at - 12 - 3);
  }
  return "cpu";
}

llama_context* MakeContext(llama_model* model, int threads) {
  llama_context_params params = llama_context_default_params();
  params.n_ctx = kContext;
  params.n_batch = penstock::bench::kBatchTokens;
  params.n_ubatch = penstock::bench::kBatchTokens;
  params.n_seq_max = kStreams;
  params.n_threads = threads;
  params.n_threads_batch = threads;
  params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
  params.kv_unified = false;
  llama_context* context = llama_init_from_model(model, params);
  if (context == nullptr) Die("cannot create the context; there may not be enough memory");
  return context;
}

void Append(llama_batch& batch, const Piece& piece) {
  for (size_t i = 0; i < piece.tokens.size(); ++i) {
    const int32_t n = batch.n_tokens++;
    batch.token[n] = piece.tokens[i];
    batch.pos[n] = piece.start + static_cast<int32_t>(i);
    batch.n_seq_id[n] = 1;
    batch.seq_id[n][0] = piece.stream;
    batch.logits[n] = piece.sample && i + 1 == piece.tokens.size();
  }
}

int32_t Greedy(const float* logits, int vocabulary) {
  return static_cast<int32_t>(std::max_element(logits, logits + vocabulary) - logits);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) Die("usage: llama_driver LIB_DIR MODEL.gguf [THREADS]");
  llama_log_set(
      [](ggml_log_level level, const char* text, void*) {
        if (level == GGML_LOG_LEVEL_ERROR) std::fputs(text, stderr);
      },
      nullptr);
  ggml_backend_load_all_from_path(argv[1]);
  const int threads = argc > 3 ? std::atoi(argv[3]) : 2;
  llama_model* model = llama_model_load_from_file(argv[2], llama_model_default_params());
  if (model == nullptr) Die(fmt::format("cannot load {}", argv[2]));
  llama_context* context = MakeContext(model, threads);
  llama_batch batch = llama_batch_init(penstock::bench::kBatchTokens, 0, 1);
  const int vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));

  Driver driver;
  driver.runner = "llama.cpp v0.5.0";
  driver.kernel = CpuBackendName();
  driver.vocabulary = vocabulary;
  driver.reset = [&] { llama_memory_clear(llama_get_memory(context), true); };
  driver.step = [&](const std::vector<Piece>& pieces) {
    batch.n_tokens = 0;
    for (const Piece& piece : pieces) Append(batch, piece);
    if (llama_decode(context, batch) != 0) Die("llama_decode failed");
    std::vector<int32_t> sampled;
    for (int32_t i = 0; i < batch.n_tokens; ++i) {
      if (batch.logits[i]) sampled.push_back(Greedy(llama_get_logits_ith(context, i), vocabulary));
    }
    return sampled;
  };
  const int status = penstock::bench::Bench(std::move(driver)).Serve();
  std::fflush(stdout);
  std::_Exit(status);  // skips ggml's own exit handlers
}
