#include "app/launch/child.h"

#include <filesystem>

#include "app/launch/supervisor.h"

namespace penstock {

std::vector<std::string> ChildArgs(std::string command, const LoadedConfig& loaded) {
  std::vector<std::string> args = {std::move(command), "--config", "/dev/null", "--data", loaded.config.data};
  for (auto& flag : AsFlags(loaded)) args.push_back(std::move(flag));
  return args;
}

std::string LogFile(const DataDir& data, const Config& config, std::string_view name) {
  if (config.logs == "stderr") return "";
  const std::string path = fmt::format("{}/{}.log", data.Logs(), name);
  std::error_code ignored;
  std::filesystem::create_directories(data.Logs(), ignored);
  return path;
}

std::string KeyVariable(std::string_view engine) {
  return fmt::format("PENSTOCK_URL_KEY_OF_{}", engine);
}

int FailChild(const Error& error) {
  fmt::print(stderr, "{}\n", Worded(error));
  const bool permanent =
      error.code == Code::kInvalid || error.code == Code::kCorrupt || error.code == Code::kUnsupported;
  return permanent ? kExitDoNotRetry : 1;
}

}  // namespace penstock
