// As files_driver.cc, computed by libllama alone: the truth for GGUF files. Built by `run` with the libraries
// of the ggml runner, whose folder is its argument.
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "llama.h"

#ifndef KV_TYPE  // of keys and values
#define KV_TYPE GGML_TYPE_F32
#endif

namespace {

constexpr int kTokens = 40;

// A row becomes visible only when it is complete: libllama aborts on some files, in a child process.
struct Row {
  char* text = nullptr;
  size_t size = 0;
  FILE* file = ::open_memstream(&text, &size);
};
Row& Current() {
  static Row row;
  return row;
}
FILE* Out() {
  return Current().file;
}

void PrintIds(const char* name, const std::vector<int>& ids) {
  std::fprintf(Out(), ", \"%s\": [", name);
  for (size_t i = 0; i < ids.size(); ++i) std::fprintf(Out(), "%s%d", i == 0 ? "" : ", ", ids[i]);
  std::fprintf(Out(), "]");
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
  params.type_k = params.type_v = KV_TYPE;
  params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
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
    std::fprintf(Out(), ", \"logprobs\": [");
    for (int i = 0; i < vocabulary; ++i) {
      const double logprob = logits[i] - most - std::log(sum);
      std::fprintf(Out(), "%s", i == 0 ? "" : ", ");
      std::isfinite(logprob) ? std::fprintf(Out(), "%.9g", logprob) : std::fprintf(Out(), "null");
    }
    std::fprintf(Out(), "]");
  }
  llama_free(context);
  return done;
}

void Print(const std::string& path) {
  llama_model_params params = llama_model_default_params();
  params.n_gpu_layers = 0;
  llama_model* model = llama_model_load_from_file(path.c_str(), params);
  std::fprintf(Out(), "{\"path\": \"%s\", \"loads\": %s", path.c_str(), model == nullptr ? "false" : "true");
  if (model != nullptr) {
    PrintVocabulary(llama_model_get_vocab(model));
    PrintLogits(model);
    llama_model_free(model);
  }
  std::fprintf(Out(), "}\n");
}

}  // namespace

int main(int, char** arguments) {
  llama_log_set(
      [](ggml_log_level level, const char* text, void*) {
        if (level == GGML_LOG_LEVEL_ERROR) std::fputs(text, stderr);
      },
      nullptr);
  ggml_backend_load_all_from_path(arguments[1]);
  for (std::string path; std::getline(std::cin, path);) {
    const pid_t child = ::fork();  // libllama aborts on some files
    if (child == 0) {
      Print(path);
      std::fclose(Out());
      if (::write(STDOUT_FILENO, Current().text, Current().size) < 0) ::_exit(1);
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    if (!WIFEXITED(status))
      std::printf("{\"path\": \"%s\", \"loads\": false, \"aborts\": true}\n", path.c_str());
    std::fflush(stdout);
  }
  return 0;
}
