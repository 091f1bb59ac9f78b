// Changes one setting in the text of a penstock.toml and leaves the rest as it is, comments included.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace penstock {

// Returns `text` with `name` ("gateway.max_body", "engines.left.memory") set to `value`. A missing table is
// added at the end. Errors: kInvalid: `text` is not TOML, or contains this setting in a form that cannot be
// changed safely (an inline table); the message asks the user to edit the file.
Result<std::string> WithSetting(std::string_view text, std::string_view name, std::string_view value);

}  // namespace penstock
