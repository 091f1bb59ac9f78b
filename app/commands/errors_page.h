// The page that explains all error codes, docs/errors.md.
#pragma once

#include <string>

namespace penstock {

std::string ErrorsPage();

}  // namespace penstock
