// Config: all settings, as the options struct of each part that uses them, and where each value came from.
//
// Precedence, lowest first: default, penstock.toml, environment, flags. app/client/endpoint.h decides where
// commands find the cloud if no setting names it. app/settings/table.h lists the settings by name.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "attach/attach.h"
#include "base/clock.h"
#include "base/log_level.h"
#include "base/result.h"
#include "engine/engine.h"
#include "gateway/gateway.h"
#include "runner/ggml_plugin.h"

namespace penstock {

// Where models are pulled from.
struct PullOptions {
  std::string hub = "https://huggingface.co";
  std::string token;  // the hub's
  std::string modelscope = "https://www.modelscope.cn";
  std::vector<std::string> mirrors;
  std::string python = "python3";
  Nanos connect_timeout = 5 * kSecond, stall_timeout = 20 * kSecond;
};

struct Config {
  std::string data;         // one directory holds all state
  bool data_named = false;  // by the environment or a flag: commands then use the cloud of that directory
  bool tls_self_signed = false, insecure = false;
  std::string url;  // where the commands find the cloud; empty: see app/client/endpoint.h
  std::string key;
  std::string logs = "files";
  LogLevel log_level = LogLevel::info;

  GatewayOptions gateway;

  // `engine.*`. The code that starts an engine fills in the rest (its name, its socket, …).
  std::string runner = "native";
  EngineOptions engine;
  GgmlOptions ggml;
  AttachOptions attach;  // for an external server; `url` and `launch` empty: the engine is our own
  std::string cores, numa, kernel;
  double quota = 0;  // cores' worth of CPU time; 0: no limit
  // [engines.NAME]: the settings of each engine that override `engine.*`, by name ("engine.runner").
  // app/launch/engines.h resolves them.
  std::map<std::string, std::map<std::string, std::string>> engines;

  PullOptions pull;

  // Whether any engine has that runner.
  bool Runs(std::string_view runner) const;
  bool Attached() const { return !attach.url.empty() || !attach.launch.empty(); }
  // Where `up` answers, from this machine: http(s)://HOST:PORT.
  std::string ListenUrl() const;
  // `url` with a scheme and without a trailing slash, else ListenUrl().
  std::string BaseUrl() const;
};

// Where a value came from, as shown to users: "default", "environment", "flag", or the file's path.
struct LoadedConfig {
  Config config;
  std::string file;                                        // that was read; empty: none
  std::map<std::string, std::string, std::less<>> source;  // by setting name
};

struct ConfigInput {
  std::string file;                                        // --config; empty: look for one
  std::map<std::string, std::string, std::less<>> flags;   // by setting name
  const char* (*environment)(const char* name) = nullptr;  // nullptr: getenv
};
// Looks for `file`, else $PENSTOCK_CONFIG, else ./penstock.toml, else /etc/penstock/penstock.toml. A file
// that was named must exist. Errors (kInvalid) name the file or variable, the setting and what it expects.
Result<LoadedConfig> LoadConfig(const ConfigInput& input);

// --set name=value for each setting that is not at its default: how a child gets its parent's settings.
// [engines.NAME] is left out: each engine is given its own values.
std::vector<std::string> AsFlags(const LoadedConfig& loaded);

}  // namespace penstock
