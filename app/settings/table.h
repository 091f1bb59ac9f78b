// The table of settings: each setting once, with its names, its help, and the field that it sets.
//
// A setting's default is the default of that field, in the options struct of the floor that uses it. The
// parser, `penstock config`, the flags and docs/configuration.md are generated from this table.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "app/settings/config.h"
#include "base/result.h"

namespace penstock {

struct Setting {
  std::string_view name;   // as in penstock.toml: "pull.hub"; "gateway.max_body" is max_body under [gateway]
  std::string_view value;  // the type of its value, as shown to users: "HOST:PORT"
  std::string_view help;
  Status (*parse)(Config&, std::string_view text) = nullptr;
  std::string (*show)(const Config&) = nullptr;
  // Copies the value from `set` to the options of a running gateway. nullptr: the setting takes effect when
  // `up` starts again.
  void (*apply)(GatewayOptions& running, const Config& set) = nullptr;
  std::string_view alias = "";  // another environment variable that is read, after our own; empty: none
  bool secret = false;          // never shown, and never in a child's command line
  bool toggle = false;          // its flag takes no value: --insecure

  std::string Flag() const;         // "--pull-hub"
  std::string Environment() const;  // "PENSTOCK_PULL_HUB"
};
std::span<const Setting> Settings();
const Setting* FindSetting(std::string_view name);  // nullptr: there is none

// Settings of one engine are "engine.KEY" for all engines and "engines.NAME.KEY" for one.
constexpr std::string_view kEngines = "engines.", kEngine = "engine.";
// An engine's name has letters, digits, - and _, at most 32 of them. Errors: kInvalid.
Status CheckEngineName(std::string_view name);

// Sets a setting from text; "engines.NAME.runner" is `engine.runner` of that engine only.
// Errors: kNotFound (names the nearest setting), kInvalid.
Status SetSetting(Config& config, std::string_view name, std::string_view text);

// Changes one setting of a running gateway. Errors: as above, and kUnsupported: it takes effect when `up`
// starts again.
Status ChangeSetting(GatewayOptions& running, std::string_view name, std::string_view text);

}  // namespace penstock
