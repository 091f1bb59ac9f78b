// How each known client is told to use a cloud: one table, for `penstock connect` and docs/clients.md.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace penstock {

struct ClientConfig {
  std::string_view name;      // as typed: "openai-python"
  std::string_view title;     // as its authors write it
  std::string_view language;  // of the text: "sh", "python", "js", "yaml", "text"
  std::string_view text;      // with @URL@, @MODEL@; the key is always the variable PENSTOCK_KEY
  bool tested = false;        // by `./dev bench clients`
  std::string_view note{};    // a limit of this version that its users meet
};
std::span<const ClientConfig> ClientConfigs();
const ClientConfig* FindClient(std::string_view name);

// `url`: with "/v1". The model is quoted for the text's language.
std::string ConfigText(const ClientConfig& client, std::string_view url, std::string_view model);
std::string ClientsPage();  // docs/clients.md

}  // namespace penstock
