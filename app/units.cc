#include "app/units.h"

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
  if (error != std::errc() || !std::isfinite(value) || value < 0 || value > 9e18)
    return Fail(Code::kInvalid, "wants {}, not '{}'", wanted, text);
  return value;
}

}  // namespace

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
