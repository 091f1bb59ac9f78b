// Config: every setting once, with its default, its flag, its environment variable and its words.
//
// Rising precedence: default, penstock.toml, environment, flags. (Where commands find the cloud when none of
// them says: app/client/endpoint.h.) The table behind Settings() is the only
// list: the parser, `penstock config` and docs/configuration.md are made from it.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace penstock {

struct Bytes {
  uint64_t value = 0;
};
struct Duration {
  Nanos value = 0;
};
struct Cores {
  double value = 0;  // cores' worth of CPU time; 0: no limit
};

struct Config {
  std::string data;         // one directory holds all state
  bool data_named = false;  // by the environment or a flag: commands mean the cloud of that directory
  std::string listen = "127.0.0.1:8700";
  std::string tls_cert, tls_key;
  bool tls_self_signed = false, insecure = false;
  std::string url;  // where the commands find the cloud; empty: see app/client/endpoint.h
  std::string key;
  std::string logs = "files";
  std::string log_level = "info";

  Bytes max_body{16ULL << 20}, max_header{32ULL << 10};
  int64_t max_connections = 20000, max_waiting = 4096;
  Duration header_timeout{30 * kSecond}, body_timeout{60 * kSecond}, write_timeout{120 * kSecond};
  Duration queue_timeout{600 * kSecond}, drain_timeout{600 * kSecond};
  Duration canary_period{60 * kSecond}, engine_timeout{3 * kSecond};

  std::string runner = "native", ggml_device, ggml_libraries;
  Bytes engine_memory, kv_memory, pause_memory;
  int64_t max_sequences = 64, step_tokens = 512, context = 0, ggml_layers = 1000;
  bool prefix_cache = true;
  std::string cores, numa, kernel;
  Cores quota;
  std::vector<std::string> takes;  // models by name; empty: all
  // [engines.NAME]: what each says instead of `engine.*`, by setting ("engine.runner"). app/launch/engines.h
  // resolves it.
  std::map<std::string, std::map<std::string, std::string>> engines;
  std::string engine_launch;  // starts that server; its URL follows from its port
  std::string engine_url;     // of a server that is attached as the engine; empty: our own
  std::string engine_url_key, engine_url_ca;
  bool engine_external = false;
  std::vector<std::string> upstream_models;

  std::string hub = "https://huggingface.co";
  std::string hub_token;
  std::string modelscope = "https://www.modelscope.cn";
  std::vector<std::string> mirrors;
  std::string python = "python3";
  Duration connect_timeout{5 * kSecond}, stall_timeout{20 * kSecond};

  // Some engine has that runner.
  bool Runs(std::string_view runner) const;
  // Where `up` answers, from this machine: http(s)://HOST:PORT.
  std::string ListenUrl() const;
  // `url` with a scheme and without a trailing slash, else ListenUrl().
  std::string BaseUrl() const;
};

struct Setting {
  std::string_view name;   // as in penstock.toml: "pull.hub"; "gateway.max_body" is max_body under [gateway]
  std::string_view value;  // what kind, for people: "HOST:PORT"
  std::string_view help;
  std::string_view alias;  // another environment variable that is honoured, after our own; may be empty
  bool secret = false;     // never shown, never put in a child's command line
  bool toggle = false;     // its flag takes no value: --insecure
  Status (*parse)(Config&, std::string_view text) = nullptr;
  std::string (*show)(const Config&) = nullptr;

  std::string Flag() const;         // "--pull-hub"
  std::string Environment() const;  // "PENSTOCK_PULL_HUB"
};
std::span<const Setting> Settings();
const Setting* FindSetting(std::string_view name);

// Where a value came from, for people: "default", "environment", "flag", or the file's path.
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
// that was named must exist. Errors (kInvalid) name the file or variable, the setting and what it wants.
Result<LoadedConfig> LoadConfig(const ConfigInput& input);

// `setting` = `text`; "engines.NAME.runner" is `engine.runner` of that engine alone.
// Errors: kNotFound (names the nearest setting), kInvalid.
Status SetSetting(Config& config, std::string_view name, std::string_view text);

// --set name=value for each setting that is not at its default: how a child gets its parent's settings.
// [engines.NAME] is left out: each engine is told what it is to be.
std::vector<std::string> AsFlags(const LoadedConfig& loaded);

// The reference page, docs/configuration.md.
std::string ConfigurationPage();

// "8GiB", "512 MB", "4096" → bytes. "500ms", "30s", "10m", "2h", "30" (seconds) → nanoseconds.
Result<uint64_t> ParseBytes(std::string_view text);
Result<Nanos> ParseDuration(std::string_view text);
// "0-3,8" → 0, 1, 2, 3, 8. "150%" or "1.5" → 1.5.
Result<std::vector<int>> ParseCoreList(std::string_view text);
Result<double> ParseShare(std::string_view text);
std::string ShowCoreList(const std::vector<int>& cores);  // ascending: "0-3,8"
std::string ShowBytes(uint64_t bytes);                    // exact, as ParseBytes reads it: "8GiB", "1000"
std::string ShowDuration(Nanos duration);                 // "30s", "500ms"

}  // namespace penstock
