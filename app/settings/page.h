// The reference page docs/configuration.md, generated from the table of settings.
#pragma once

#include <string>

namespace penstock {

std::string ConfigurationPage();

}  // namespace penstock
