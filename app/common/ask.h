// Questions before a command destroys something, and words for a shell.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace penstock {

// Whether to stop instead, with which exit status: asks `question` on the terminal unless `yes` was given.
// Without a terminal nothing is assumed: prints that --yes is needed (exit status 2).
std::optional<int> Declined(std::string_view question, bool yes);

// `text` as one word of a POSIX shell: unchanged if that is safe, else in single quotes.
std::string ShellWord(std::string_view text);

}  // namespace penstock
