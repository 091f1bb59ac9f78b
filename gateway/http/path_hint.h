// What a client that asked for a path that does not exist is told. Pure.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace penstock::gateway {

// One line: the path of `known` that was probably meant, and all of `usable`, which are those for `whom`
// ("this key"). Paths may hold one {}.
std::string NoSuchPath(std::string_view path, std::span<const std::string_view> usable,
                       std::span<const std::string_view> known, std::string_view whom);

// Whether `path` is of the form `pattern`; then `argument` is what its {} stands for.
bool MatchPath(std::string_view pattern, std::string_view path, std::string_view& argument);

}  // namespace penstock::gateway
