#include "app/settings/units.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <span>

namespace penstock {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

Result<double> ParseUnit(std::string_view text, std::span<const Unit> units, std::string_view wanted) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  std::string_view suffix = text.substr(static_cast<size_t>(end - text.data()));
  while (suffix.starts_with(' ')) suffix.remove_prefix(1);
  const auto unit = std::ranges::find(units, suffix, &Unit::name);
  const double value = unit == units.end() ? -1 : number * unit->factor;
  if (error != std::errc() || !std::isfinite(value) || value < 0 || value > 9e18) return MustBe(wanted, text);
  return value;
}

}  // namespace

std::unexpected<Error> MustBe(std::string_view what, std::string_view text) {
  return Fail(Code::kInvalid, "must be {}, not '{}'", what, text);
}

Result<uint64_t> ParseBytes(std::string_view text) {
  static constexpr std::array<Unit, 10> kUnits = {{{"", 1},
                                                   {"B", 1},
                                                   {"KB", 1e3},
                                                   {"MB", 1e6},
                                                   {"GB", 1e9},
                                                   {"TB", 1e12},
                                                   {"KiB", 0x1p10},
                                                   {"MiB", 0x1p20},
                                                   {"GiB", 0x1p30},
                                                   {"TiB", 0x1p40}}};
  PENSTOCK_ASSIGN(const double value, ParseUnit(text, kUnits, "a size such as 16MiB or 8GiB"));
  return static_cast<uint64_t>(value);
}

Result<Nanos> ParseDuration(std::string_view text) {
  static constexpr std::array<Unit, 6> kUnits = {
      {{"", 1e9}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}, {"d", 86400e9}}};
  PENSTOCK_ASSIGN(const double value, ParseUnit(text, kUnits, "a time such as 500ms, 30s or 10m"));
  return static_cast<Nanos>(value);
}

Result<uint64_t> ParseNumber(std::string_view text, uint64_t most) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = end == text.data() + text.size() && error != std::errc::invalid_argument;
  if (!whole || text.empty()) return MustBe("a whole number", text);
  if (error == std::errc::result_out_of_range || value > most)
    return MustBe(fmt::format("a whole number of at most {}", most), text);
  return value;
}

Result<std::vector<int>> ParseCoreList(std::string_view text) {
  constexpr uint64_t kMost = 4095;
  const auto wrong = [&] { return MustBe("cores such as 0-3,8", text); };
  std::vector<int> cores;
  for (std::string_view left = text; !left.empty();) {
    const std::string_view part = left.substr(0, left.find(','));
    left.remove_prefix(std::min(part.size() + 1, left.size()));
    const size_t dash = std::min(part.find('-'), part.size());
    const auto first = ParseNumber(part.substr(0, dash), kMost);
    const auto last = dash < part.size() ? ParseNumber(part.substr(dash + 1), kMost) : first;
    if (!first || !last || *last < *first) return wrong();
    for (uint64_t core = *first; core <= *last; ++core) cores.push_back(static_cast<int>(core));
  }
  std::ranges::sort(cores);
  cores.erase(std::ranges::unique(cores).begin(), cores.end());
  return cores;
}

std::string ShowCoreList(const std::vector<int>& cores) {
  std::string text;
  for (size_t i = 0; i < cores.size();) {
    size_t end = i + 1;
    while (end < cores.size() && cores[end] == cores[end - 1] + 1) ++end;
    text += fmt::format("{}{}{}", text.empty() ? "" : ",", cores[i],
                        end - i > 1 ? fmt::format("-{}", cores[end - 1]) : "");
    i = end;
  }
  return text;
}

Result<double> ParseShare(std::string_view text) {
  static constexpr std::array<Unit, 2> kUnits = {{{"", 1}, {"%", 0.01}}};
  if (text.empty()) return 0.0;
  const auto share = ParseUnit(text, kUnits, "a share of cores such as 150% or 0.5");
  if (!share.has_value()) return share;
  if (*share < 0.01 || *share > 4096) return MustBe("at least 1% of a core, such as 150% or 0.5", text);
  return share;
}

std::string ShowShare(double share) {
  return share == 0 ? "" : fmt::format("{:g}%", share * 100);
}

std::string ShowBytes(uint64_t bytes) {
  static constexpr std::array<std::string_view, 4> kBinary = {"TiB", "GiB", "MiB", "KiB"};
  for (size_t i = 0; i < kBinary.size(); ++i) {
    const uint64_t unit = 1ULL << (10 * (kBinary.size() - i));
    if (bytes >= unit && bytes % unit == 0) return fmt::format("{}{}", bytes / unit, kBinary[i]);
  }
  return std::to_string(bytes);
}

std::string ShowDuration(Nanos duration) {
  if (duration % kSecond != 0) return fmt::format("{}ms", duration / kMillisecond);
  return fmt::format("{}s", duration / kSecond);
}

}  // namespace penstock
