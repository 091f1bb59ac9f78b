#include "gateway/http/path_hint.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

#include "base/nearest.h"

namespace penstock::gateway {
namespace {

using Paths = std::span<const std::string_view>;

// "//v1/v1/models/" → "/v1/models": what joining a base URL and a path goes wrong with.
std::string Tidied(std::string_view path) {
  std::string tidy;
  for (const char c : path) {
    if (c != '/' || !tidy.ends_with('/')) tidy += c;
  }
  while (tidy.starts_with("/v1/v1/")) tidy.erase(0, 3);
  if (tidy.size() > 1 && tidy.ends_with('/')) tidy.pop_back();
  return tidy;
}

bool IsAmong(Paths paths, std::string_view path) {
  std::string_view ignored;
  return std::ranges::any_of(paths, [&](std::string_view pattern) {
    return pattern.size() > 1 && MatchPath(pattern, path, ignored);
  });
}

std::string Suggestion(std::string_view path, Paths known) {
  const std::string tidy = Tidied(path);
  if (tidy != path && IsAmong(known, tidy)) return fmt::format("did you mean {}?", tidy);
  if (const std::string with = "/v1" + tidy; IsAmong(known, with))
    return fmt::format("did you forget /v1? The path is {}", with);
  // The right path behind another server's prefix: /api/v1/models, /openai/v1/chat/completions.
  for (const std::string_view pattern : known) {
    if (pattern.size() > 1 && tidy.ends_with(pattern)) return fmt::format("did you mean {}?", pattern);
  }
  std::string_view nearest;
  size_t least = tidy.size() / 4 + 1;
  for (const std::string_view pattern : known) {
    if (pattern.find('{') != std::string_view::npos || pattern.size() <= 1) continue;
    if (const size_t distance = EditDistance(tidy, pattern); distance < least) {
      least = distance;
      nearest = pattern;
    }
  }
  return nearest.empty() ? "" : fmt::format("did you mean {}?", nearest);
}

}  // namespace

std::string NoSuchPath(std::string_view path, Paths usable, Paths known, std::string_view whom) {
  constexpr size_t kMost = 200;  // of what the client sent; also bounds the search for the nearest
  std::string shown;
  for (const char c : path.substr(0, kMost)) shown += c >= ' ' && c != 0x7F ? c : '?';
  std::vector<std::string_view> sorted(usable.begin(), usable.end());
  std::ranges::sort(sorted);
  sorted.erase(std::ranges::unique(sorted).begin(), sorted.end());
  const std::string suggestion = Suggestion(path.substr(0, kMost), known);
  return fmt::format("there is nothing at '{}'; {}{}the paths for {} are: {}", shown, suggestion,
                     suggestion.empty()          ? ""
                     : suggestion.ends_with('?') ? " "
                                                 : "; ",
                     whom, fmt::join(sorted, ", "));
}

bool MatchPath(std::string_view pattern, std::string_view path, std::string_view& argument) {
  const size_t hole = pattern.find("{}");
  if (hole == std::string_view::npos) {
    argument = {};
    return pattern == path;
  }
  const std::string_view before = pattern.substr(0, hole), after = pattern.substr(hole + 2);
  if (path.size() <= before.size() + after.size()) return false;
  if (!path.starts_with(before) || !path.ends_with(after)) return false;
  argument = path.substr(before.size(), path.size() - before.size() - after.size());
  return true;
}

}  // namespace penstock::gateway
