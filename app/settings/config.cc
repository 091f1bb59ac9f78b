#include "app/settings/config.h"

#include <toml++/toml.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include "app/settings/table.h"

namespace penstock {
namespace {

std::string DefaultData(const char* (*environment)(const char*)) {
  if (const char* xdg = environment("XDG_DATA_HOME"); xdg != nullptr && *xdg == '/') {
    return std::string(xdg) + "/penstock";
  }
  const char* home = environment("HOME");
  return home != nullptr && *home == '/' ? std::string(home) + "/.local/share/penstock" : "/var/lib/penstock";
}

const char* GetEnvironment(const char* name) {
  return std::getenv(name);
}

Status Apply(LoadedConfig& loaded, std::string_view name, std::string_view text, std::string_view source) {
  if (auto set = SetSetting(loaded.config, name, text); !set.has_value()) {
    return std::unexpected(Reworded(set.error(), fmt::format("{}: {}", source, set.error().message)));
  }
  loaded.source[std::string(name)] = source;
  return {};
}

std::optional<std::string> NodeText(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* number = node.as_integer()) return std::to_string(number->get());
  if (const auto* flag = node.as_boolean()) return flag->get() ? "true" : "false";
  if (const auto* list = node.as_array()) {
    std::string joined;
    for (const auto& item : *list) {
      if (!item.is_string()) return std::nullopt;
      joined += (joined.empty() ? "" : ",") + item.as_string()->get();
    }
    return joined;
  }
  return std::nullopt;
}

Status ApplyTable(LoadedConfig& loaded, const toml::table& table, const std::string& prefix,
                  const std::string& path) {
  for (const auto& [key, node] : table) {
    const std::string name = prefix + std::string(key.str());
    const std::string place = fmt::format("{}:{}", path, node.source().begin.line);
    if (const auto* inner = node.as_table()) {
      if (prefix == kEngines) {  // an empty table also defines an engine
        PENSTOCK_TRY(CheckEngineName(key.str()));
        loaded.config.engines[std::string(key.str())];
      }
      PENSTOCK_TRY(ApplyTable(loaded, *inner, name + ".", path));
      continue;
    }
    const auto text = NodeText(node);
    if (!text)
      return Fail(Reason::kBadSetting, "{}: {}: must be a string, a number, true or false", place, name);
    PENSTOCK_TRY(Apply(loaded, name, *text, place));
    loaded.source[name] = path;
  }
  return {};
}

Status ApplyFile(LoadedConfig& loaded, const std::string& path) {
  try {
    const toml::table table = toml::parse_file(path);
    return ApplyTable(loaded, table, "", path);
  } catch (const toml::parse_error& error) {
    return Fail(Reason::kBadSetting, "{}:{}: {}", path, error.source().begin.line, error.description());
  }
}

Status ApplyEnvironment(LoadedConfig& loaded, const char* (*environment)(const char*)) {
  for (const auto& setting : Settings()) {
    std::string variable = setting.Environment();
    const char* text = environment(variable.c_str());
    if (text == nullptr && !setting.alias.empty()) {
      variable = setting.alias;
      text = environment(variable.c_str());
    }
    if (text == nullptr || *text == '\0') continue;
    PENSTOCK_TRY(Apply(loaded, setting.name, text, variable));
    loaded.source[std::string(setting.name)] = "environment";
  }
  return {};
}

// The file to read; empty: none.
Result<std::string> FindFile(const ConfigInput& input, const char* (*environment)(const char*)) {
  std::error_code ignored;
  std::string named = input.file;
  if (const char* variable = environment("PENSTOCK_CONFIG"); named.empty() && variable != nullptr)
    named = variable;
  if (!named.empty()) {
    if (!std::filesystem::exists(named, ignored))
      return Fail(Reason::kNoConfigFile, "no configuration file {}", named);
    return named;
  }
  for (const char* path : {"penstock.toml", "/etc/penstock/penstock.toml"}) {
    if (std::filesystem::exists(path, ignored)) return path;
  }
  return std::string();
}

}  // namespace

Result<LoadedConfig> LoadConfig(const ConfigInput& input) {
  const auto environment = input.environment != nullptr ? input.environment : GetEnvironment;
  LoadedConfig loaded;
  loaded.config.data = DefaultData(environment);
  for (const auto& setting : Settings()) loaded.source[std::string(setting.name)] = "default";
  PENSTOCK_ASSIGN(const std::string file, FindFile(input, environment));
  loaded.file = file;
  if (!file.empty()) PENSTOCK_TRY(ApplyFile(loaded, file));
  PENSTOCK_TRY(ApplyEnvironment(loaded, environment));
  for (const auto& [name, text] : input.flags) {
    const Setting* setting = FindSetting(name);
    PENSTOCK_TRY(Apply(loaded, name, text, setting != nullptr ? setting->Flag() : "--set"));
    loaded.source[name] = "flag";
  }
  const std::string& named = loaded.source["data"];
  loaded.config.data_named = named == "environment" || named == "flag";
  loaded.config.data = std::filesystem::absolute(loaded.config.data).lexically_normal().string();
  return loaded;
}

std::vector<std::string> AsFlags(const LoadedConfig& loaded) {
  std::vector<std::string> flags;
  for (const auto& setting : Settings()) {
    const auto source = loaded.source.find(setting.name);
    if (setting.secret || source == loaded.source.end() || source->second == "default") continue;
    flags.emplace_back("--set");
    flags.push_back(fmt::format("{}={}", setting.name, setting.show(loaded.config)));
  }
  return flags;
}

bool Config::Runs(std::string_view wanted) const {
  if (engines.empty()) return runner == wanted;
  return std::ranges::any_of(engines, [&](const auto& engine) {
    const auto own = engine.second.find("engine.runner");
    return (own == engine.second.end() ? runner : own->second) == wanted;
  });
}

std::string Config::ListenUrl() const {
  const std::string& listen = gateway.listen;
  const size_t colon = listen.rfind(':');
  std::string host = listen.substr(0, colon);
  if (host == "0.0.0.0" || host == "[::]" || host == "*") host = "127.0.0.1";
  const bool tls = tls_self_signed || !gateway.tls_certificate.empty();
  return (tls ? "https://" : "http://") + host + listen.substr(colon);
}

std::string Config::BaseUrl() const {
  if (url.empty()) return ListenUrl();
  std::string base = url;
  if (!base.starts_with("http://") && !base.starts_with("https://")) base = "http://" + base;
  while (base.ends_with('/')) base.pop_back();
  return base;
}

}  // namespace penstock
