#include "app/launch/engine_process.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "app/launch/log_keeper.h"
#include "attach/attach.h"
#include "engine/engine.h"
#include "runner/fake.h"
#include "runner/ggml_plugin.h"
#include "runner/native.h"

namespace penstock {
namespace {

// Where to find libllama: the configured folders, else the data directory, else the folder of the build.
std::vector<std::string> GgmlFolders(const Config& config) {
  if (!config.ggml.libraries.empty()) return config.ggml.libraries;
  const auto beside = std::filesystem::path(GgmlPluginPath()).parent_path() / "ggml";
  return {config.data + "/ggml", beside.string()};
}

Result<std::unique_ptr<Runner>> MakeRunner(const Config& config) {
  if (config.runner == "ggml") {
    GgmlOptions options = config.ggml;
    options.max_sequences = static_cast<int32_t>(std::min<uint32_t>(config.engine.max_sequences, INT32_MAX));
    options.libraries = GgmlFolders(config);
    return MakeGgmlRunner(options);
  }
  if (config.runner == "native") {
    NativeOptions options;
    if (!config.kernel.empty()) {
      PENSTOCK_ASSIGN(options.isa, kernels::BestIsa(config.kernel));
    }
    return MakeNativeRunner(options);
  }
  const size_t options = std::min(config.runner.find('?'), config.runner.size() - 1) + 1;
  PENSTOCK_ASSIGN(const FakeOptions fake, ParseFakeOptions(std::string_view(config.runner).substr(options)));
  return MakeFakeRunner(fake);
}

Result<int> Attached(const Config& config, const ChildOptions& child) {
  spdlog::set_level(config.log_level);
  const char* key = std::getenv(KeyVariable(child.name).c_str());
  AttachOptions options = config.attach;
  options.name = child.name;
  options.socket = child.socket;
  if (key != nullptr) options.key = key;
  options.takes = config.engine.takes;
  options.max_sequences = config.engine.max_sequences;
  const auto status = RunAttached(std::move(options));
  return status.has_value() ? *status : FailChild(status.error());
}

}  // namespace

Result<int> RunEngineProcess(const LoadedConfig& loaded, const ChildOptions& child) {
  const Config& config = loaded.config;
  PENSTOCK_ASSIGN(const DataDir data, DataDir::Open(config.data));
  const LogKeeper log(LogFile(data, config, fmt::format("engine-{}", child.name)));
  if (config.Attached()) return Attached(config, child);
  auto runner = MakeRunner(config);
  if (!runner.has_value()) return FailChild(runner.error());
  spdlog::set_level(config.log_level);
  EngineOptions options = config.engine;
  options.name = child.name;
  options.socket = child.socket;
  if (child.memory > 0) options.memory_bytes = child.memory;
  options.machine_memory = child.machine_memory;
  options.place = child.place;
  options.note = child.note;
  const auto status = RunEngine(*std::move(runner), std::move(options));
  return status.has_value() ? *status : FailChild(status.error());
}

}  // namespace penstock
