// InstalledModel: one model of the data directory, as it is offered to clients. Plain data.
#pragma once

#include <cstdint>
#include <string>

namespace penstock {

struct InstalledModel {
  std::string name;       // what clients write in "model"
  std::string path;       // GGUF file or Hugging Face folder
  int64_t created = 0;    // Unix seconds, for /v1/models
  uint32_t context = 0;   // cap, in tokens; 0: the model's own
  uint64_t kv_bytes = 0;  // memory for keys and values on each engine
};

}  // namespace penstock
