// quality_peer LIB_DIR MODEL.gguf TOKENS: writes llama.cpp's logits as f32 for every token of the documents
// in TOKENS (quality_driver.cc describes the file) to stdout. Uses its defaults on a CPU, with flash
// attention on. Built by quality.py after it has downloaded the peer; not part of the build.
#include <ggml-backend.h>
#include <llama.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

constexpr int kTokens = 1024;  // of the longest document

[[noreturn]] void Die(const char* why) {
  std::fprintf(stderr, "quality_peer: %s\n", why);
  std::exit(1);
}

void Evaluate(llama_context* context, const std::vector<llama_token>& tokens, int vocabulary) {
  llama_memory_clear(llama_get_memory(context), true);
  llama_batch batch = llama_batch_init(kTokens, 0, 1);
  for (size_t i = 0; i < tokens.size(); ++i) {
    batch.token[i] = tokens[i];
    batch.pos[i] = static_cast<llama_pos>(i);
    batch.n_seq_id[i] = 1;
    batch.seq_id[i][0] = 0;
    batch.logits[i] = 1;
  }
  batch.n_tokens = static_cast<int32_t>(tokens.size());
  if (llama_decode(context, batch) != 0) Die("llama_decode failed");
  for (int32_t i = 0; i < batch.n_tokens; ++i) {
    std::fwrite(llama_get_logits_ith(context, i), sizeof(float), static_cast<size_t>(vocabulary), stdout);
  }
  llama_batch_free(batch);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) Die("usage: quality_peer LIB_DIR MODEL.gguf TOKENS");
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  ggml_backend_load_all_from_path(argv[1]);
  llama_model* model = llama_model_load_from_file(argv[2], llama_model_default_params());
  if (model == nullptr) Die("cannot load the model");
  llama_context_params params = llama_context_default_params();
  params.n_ctx = params.n_batch = kTokens;
  params.n_threads = params.n_threads_batch = 2;
  params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;
  llama_context* context = llama_init_from_model(model, params);
  FILE* file = std::fopen(argv[3], "rb");
  if (context == nullptr || file == nullptr) Die("no context, or no token file");
  const int vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
  int32_t count = 0;
  while (std::fread(&count, sizeof(count), 1, file) == 1) {
    std::vector<llama_token> tokens(static_cast<size_t>(count));
    if (count < 1 || count > kTokens ||
        std::fread(tokens.data(), sizeof(llama_token), tokens.size(), file) != tokens.size()) {
      Die("a damaged token file");
    }
    Evaluate(context, tokens, vocabulary);
  }
  std::fflush(stdout);
  std::_Exit(0);  // skips ggml's own exit handlers
}
