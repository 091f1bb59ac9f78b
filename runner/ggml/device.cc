#include "runner/ggml/device.h"

#include <llama.h>
#include <spdlog/spdlog.h>

#include <filesystem>
#include <iterator>
#include <utility>
#include <vector>

#include "runner/ggml/libllama.h"

namespace penstock::ggml {

LlamaLog& LlamaLog::Get() {
  static LlamaLog log;
  return log;
}

void LlamaLog::Install() {
  llama_log_set(Hear, this);
}

std::string LlamaLog::TakeError() {
  const std::lock_guard lock(mutex_);
  std::string error = std::exchange(error_, {});
  return error.empty() ? "no reason given" : error;
}

void LlamaLog::Hear(ggml_log_level level, const char* text, void* self) {
  std::string_view line = text;
  while (line.ends_with('\n')) line.remove_suffix(1);
  if (line.empty() || level < GGML_LOG_LEVEL_WARN || level == GGML_LOG_LEVEL_CONT) return;
  spdlog::debug("libllama: {}", line);
  if (level == GGML_LOG_LEVEL_ERROR) static_cast<LlamaLog*>(self)->Keep(line);
}

void LlamaLog::Keep(std::string_view line) {
  const std::lock_guard lock(mutex_);
  if (error_.empty()) error_ = line;
}

bool IsGpu(ggml_backend_dev_t device) {
  const auto type = ggml_backend_dev_type(device);
  return type == GGML_BACKEND_DEVICE_TYPE_GPU || type == GGML_BACKEND_DEVICE_TYPE_IGPU;
}

namespace {

std::vector<ggml_backend_dev_t> Devices() {
  std::vector<ggml_backend_dev_t> devices;
  for (size_t i = 0; i < ggml_backend_dev_count(); ++i) devices.push_back(ggml_backend_dev_get(i));
  std::erase_if(devices, [](ggml_backend_dev_t device) {
    return !IsGpu(device) && ggml_backend_dev_type(device) != GGML_BACKEND_DEVICE_TYPE_CPU;
  });
  return devices;
}

}  // namespace

Result<ggml_backend_dev_t> ChooseDevice(const std::string& wanted, const std::string& folder) {
  const auto devices = Devices();
  if (devices.empty())
    return Fail(Code::kUnsupported, "no ggml backend runs here: {} has none for this machine", folder);
  std::string names;
  for (ggml_backend_dev_t device : devices) {
    const char* name = ggml_backend_dev_name(device);
    if (wanted.empty() ? IsGpu(device) : wanted == name) return device;
    fmt::format_to(std::back_inserter(names), "{}{} ({})", names.empty() ? "" : ", ", name,
                   ggml_backend_dev_description(device));
  }
  if (wanted.empty()) return devices.front();
  return Fail(Code::kInvalid, "engine.ggml_device: there is no device \"{}\" here; there is {}", wanted,
              names);
}

std::string KernelName(ggml_backend_dev_t device) {
  std::string stem = std::filesystem::path(FileOf(ggml_backend_dev_backend_reg(device))).stem().string();
  if (stem.starts_with("lib")) stem.erase(0, 3);
  return fmt::format("{} {}", stem, llama_version());
}

void LoadBackends(const std::string& folder) {
  static std::once_flag once;
  std::call_once(once, [&] {
    LlamaLog::Get().Install();
    llama_backend_init();
    ggml_backend_load_all_from_path(folder.c_str());
    if (ggml_backend_dev_count() == 0) ggml_backend_load_all();  // the system's own place
  });
}

}  // namespace penstock::ggml
