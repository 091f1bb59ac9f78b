// As model_driver.cc, computed by libllama alone: the truth for GGUF files. Built by `run` with the libraries of the
// ggml runner, whose folder is its argument.
#include <cmath>
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "llama.h"

namespace {

constexpr int kTokens = 40;

void PrintIds(const char* name, const std::vector<int>& ids) {
  std::printf(", \"%s\": [", name);
  for (size_t i = 0; i < ids.size(); ++i) std::printf("%s%d", i == 0 ? "" : ", ", ids[i]);
  std::printf("]");
}

void PrintVocabulary(const llama_vocab* vocab) {
  std::vector<int> ends, control, before, after;
  for (int i = 0; i < llama_vocab_n_tokens(vocab); ++i) {
    if (llama_vocab_is_eog(vocab, i)) ends.push_back(i);
    if (llama_vocab_is_control(vocab, i)) control.push_back(i);
  }
  if (llama_vocab_get_add_bos(vocab) && llama_vocab_bos(vocab) >= 0) before.push_back(llama_vocab_bos(vocab));
  if (llama_vocab_get_add_eos(vocab) && llama_vocab_eos(vocab) >= 0) after.push_back(llama_vocab_eos(vocab));
  PrintIds("ends", ends);
  PrintIds("control", control);
  PrintIds("before", before);
  PrintIds("after", after);
}

bool PrintLogits(llama_model* model) {
  const int vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
  llama_context_params params = llama_context_default_params();
  params.n_ctx = 64, params.n_batch = 64, params.n_threads = params.n_threads_batch = 1;
  llama_context* context = llama_init_from_model(model, params);
  if (context == nullptr) return false;
  std::vector<llama_token> tokens;
  for (int i = 0; i < kTokens; ++i) tokens.push_back((7 * i + 3) % vocabulary);
  const bool done = llama_decode(context, llama_batch_get_one(tokens.data(), kTokens)) == 0;
  if (done) {
    const float* logits = llama_get_logits_ith(context, -1);
    double most = logits[0], sum = 0;
    for (int i = 0; i < vocabulary; ++i) most = std::max(most, double{logits[i]});
    for (int i = 0; i < vocabulary; ++i) sum += std::exp(logits[i] - most);
    std::printf(", \"logprobs\": [");
    for (int i = 0; i < vocabulary; ++i) std::printf("%s%.9g", i == 0 ? "" : ", ", logits[i] - most - std::log(sum));
    std::printf("]");
  }
  llama_free(context);
  return done;
}

}  // namespace

int main(int, char** arguments) {
  llama_log_set([](ggml_log_level level, const char* text, void*) {
    if (level == GGML_LOG_LEVEL_ERROR) std::fputs(text, stderr);
  }, nullptr);
  ggml_backend_load_all_from_path(arguments[1]);
  for (std::string path; std::getline(std::cin, path);) {
    llama_model_params params = llama_model_default_params();
    params.n_gpu_layers = 0;
    llama_model* model = llama_model_load_from_file(path.c_str(), params);
    std::printf("{\"path\": \"%s\", \"loads\": %s", path.c_str(), model == nullptr ? "false" : "true");
    if (model != nullptr) {
      PrintVocabulary(llama_model_get_vocab(model));
      PrintLogits(model);
      llama_model_free(model);
    }
    std::printf("}\n");
    std::fflush(stdout);
  }
  return 0;
}
