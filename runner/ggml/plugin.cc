#include "runner/ggml/entry.h"
#include "runner/ggml/ggml_runner.h"

#define PENSTOCK_EXPORT extern "C" __attribute__((visibility("default")))

PENSTOCK_EXPORT penstock::ggml::AbiFunction penstock_ggml_abi;
PENSTOCK_EXPORT penstock::ggml::MakeFunction penstock_ggml_make;

const char* penstock_ggml_abi() {
  return penstock::ggml::kAbi.data();
}

penstock::Runner* penstock_ggml_make(const penstock::GgmlOptions* options, penstock::Error* error) {
  auto runner = penstock::ggml::MakeRunner(*options);
  if (runner.has_value()) return runner->release();
  *error = std::move(runner.error());
  return nullptr;
}
