// Names that people give to teams, keys and models: one form for each text, nothing invisible in it.
//
// Unicode writes some texts in several ways, and has characters that cannot be seen or that change the order
// in which others are shown; two names that look equal must be equal. Source: UAX #15 (NFC), UTS #39. By
// utf8proc. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace penstock {

struct Team;

// `name` in NFC. `what`: "team", "key": for the errors (kInvalid). A name has 1 to 64 bytes, no control,
// bidirectional or invisible characters, and no space at an end.
Result<std::string> CheckedName(std::string_view what, std::string_view name);

// In NFC, if it can be; to look names up by.
std::string ComposedName(std::string_view name);
// Equal for names that differ only by case.
std::string FoldedName(std::string_view name);

// The one of `teams` that a text names: by its name, else by its id ("3"), else by its name in another case,
// where only one is meant. nullptr: none.
const Team* FindTeamIn(const std::vector<Team>& teams, std::string_view text);

}  // namespace penstock
