// What libllama runs on, and what it says when it fails. Process-wide, as libllama's own state is.
#pragma once

#include <ggml-backend.h>

#include <mutex>
#include <string>

#include "base/result.h"

namespace penstock::ggml {

// libllama tells errors to a callback and returns null: the last one is kept for our own messages.
class LlamaLog {
 public:
  static LlamaLog& Get();
  void Install();
  // The last error since the last call; "no reason given" where there was none.
  std::string TakeError();

 private:
  static void Hear(ggml_log_level level, const char* text, void* self);
  // The first of a row of errors says why; those after it, that something failed.
  void Keep(std::string_view line);

  std::mutex mutex_;
  std::string error_;
};

// Once a process: the backends in `folder`, otherwise the system's.
void LoadBackends(const std::string& folder);

bool IsGpu(ggml_backend_dev_t device);
// The device of that name; empty: the first GPU, otherwise the CPU. Errors name the devices that there are.
Result<ggml_backend_dev_t> ChooseDevice(const std::string& wanted, const std::string& folder);
// "ggml-cpu-zen4 0.5.0": the file that ggml chose among its versions, and the release.
std::string KernelName(ggml_backend_dev_t device);

}  // namespace penstock::ggml
