// The page of all errors, docs/errors.md.
#pragma once

#include <string>

namespace penstock {

std::string ErrorsPage();

}  // namespace penstock
