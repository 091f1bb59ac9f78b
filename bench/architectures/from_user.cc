// Linked into llama.cpp's own tests/test-llama-archs.cpp, which makes tiny random models of every
// architecture, so that it works with a released libllama: loads the backends, and gives
// llama_model_init_from_user the list of tensors that the release wants. Built by `run`. The list is padded
// to the number that libllama asks for; tensors in $PENSTOCK_OPTIONAL (names without their layer, separated
// by commas) are made although libllama could do without.
#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string>

#include "ggml-backend.h"
#include "ggml.h"
#include "gguf.h"
#include "llama.h"

namespace {

int missing = 0;  // tensors, by libllama's last complaint

__attribute__((constructor)) void LoadBackends() {
  ggml_backend_load_all_from_path(std::getenv("PENSTOCK_BACKENDS"));
}

void Listen(ggml_log_level, const char* text, void*) {
  int expected = 0, got = 0;
  const char* const at = std::strstr(text, "expected ");
  if (at != nullptr && std::sscanf(at, "expected %d, got %d", &expected, &got) == 2) missing = got - expected;
}

void Add(gguf_context* metadata, const std::string& name) {
  ggml_tensor tensor{};
  tensor.type = GGML_TYPE_F32;
  ggml_set_name(&tensor, name.c_str());
  gguf_add_tensor(metadata, &tensor);
}

uint32_t LayersOf(const gguf_context* metadata) {
  const std::string architecture =
      gguf_get_val_str(metadata, gguf_find_key(metadata, "general.architecture"));
  return gguf_get_val_u32(metadata, gguf_find_key(metadata, (architecture + ".block_count").c_str()));
}

void AddOptional(gguf_context* metadata) {
  const char* const names = std::getenv("PENSTOCK_OPTIONAL");
  std::istringstream list(names == nullptr ? "" : names);
  for (std::string name; std::getline(list, name, ',');) {
    for (uint32_t i = 0; i < LayersOf(metadata); ++i) Add(metadata, "blk." + std::to_string(i) + "." + name);
  }
}

}  // namespace

// In place of libllama's function of this name.
extern "C" llama_model* llama_model_init_from_user(gguf_context* metadata, llama_model_set_tensor_data_t set,
                                                   void* data, llama_model_params params) {
  const auto real =
      reinterpret_cast<decltype(&llama_model_init_from_user)>(dlsym(RTLD_NEXT, "llama_model_init_from_user"));
  gguf_context* const listed = gguf_init_empty();  // without the program's own list
  gguf_set_kv(listed, metadata);
  AddOptional(listed);
  llama_log_set(Listen, nullptr);
  llama_model* model = real(listed, set, data, params);
  for (int i = 0; model == nullptr && i < missing; ++i) Add(listed, "unused." + std::to_string(i));
  if (model == nullptr) model = real(listed, set, data, params);
  llama_log_set(nullptr, nullptr);
  gguf_free(listed);
  return model;
}
