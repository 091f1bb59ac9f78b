// The name most similar to a mistyped one, for error messages.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace penstock {

// Insertions, deletions and substitutions between `a` and `b` (Levenshtein).
size_t EditDistance(std::string_view a, std::string_view b);

// " (did you mean 'listen'?)", or empty if none is similar.
std::string DidYouMean(std::string_view name, const std::vector<std::string>& known);

}  // namespace penstock
