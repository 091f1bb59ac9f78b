#include "app/common/ask.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <iostream>

namespace penstock {

std::optional<int> Declined(std::string_view question, bool yes) {
  if (yes) return std::nullopt;
  if (isatty(STDIN_FILENO) != 1) {
    fmt::print(stderr, "penstock: {}\nTo confirm this without a terminal, add --yes.\n", question);
    return 2;
  }
  fmt::print(stderr, "{} [y/N] ", question);
  std::string answer;
  std::getline(std::cin, answer);
  if (answer == "y" || answer == "Y" || answer == "yes") return std::nullopt;
  fmt::print(stderr, "Nothing was changed.\n");
  return 1;
}

std::string ShellWord(std::string_view text) {
  const auto safe = [](unsigned char c) {
    return std::isalnum(c) != 0 ||
           std::string_view("-_./:=@%+,").find(static_cast<char>(c)) != std::string_view::npos;
  };
  if (!text.empty() && std::ranges::all_of(text, safe)) return std::string(text);
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

}  // namespace penstock
