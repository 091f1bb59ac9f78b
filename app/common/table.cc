#include "app/common/table.h"

#include <fmt/format.h>
#include <unistd.h>
#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <limits>

#include "app/common/terminal.h"

namespace penstock {
namespace {

// In the cells of a terminal: none for combining marks, two for most of East Asia's characters and for emoji.
size_t Width(const std::string& text) {
  const auto* at = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  auto left = static_cast<utf8proc_ssize_t>(text.size());
  size_t width = 0;
  while (left > 0) {
    utf8proc_int32_t c = 0;
    const utf8proc_ssize_t size = std::max<utf8proc_ssize_t>(utf8proc_iterate(at, left, &c), 1);
    width +=
        c < 0 ? 1
              : static_cast<size_t>(utf8proc_charwidth(c));  // a byte that is not UTF-8 is shown as one sign
    at += size;
    left -= size;
  }
  return width;
}

// The longest beginning of `text` that leaves one of `cells` for "…"; `text` itself if it fits.
std::string Shortened(const std::string& text, size_t cells) {
  if (Width(text) <= cells) return text;
  size_t end = 0;
  for (size_t next = 1; next <= text.size(); ++next) {
    const bool whole = next == text.size() || (static_cast<unsigned char>(text[next]) & 0xC0U) != 0x80U;
    if (!whole) continue;
    if (Width(text.substr(0, next)) + 1 > cells) break;
    end = next;
  }
  return text.substr(0, end) + "…";
}

void AddLine(std::string& out, const std::vector<std::string>& cells, const std::vector<size_t>& widths,
             const std::vector<bool>& right) {
  std::string line;
  for (size_t i = 0; i < cells.size(); ++i) {
    const std::string cell = Shortened(cells[i], widths[i]);
    const std::string pad(widths[i] - Width(cell), ' ');
    line += (i == 0 ? "" : "  ") + (right[i] ? pad + cell : cell + pad);
  }
  line.erase(line.find_last_not_of(' ') + 1);
  out += line + "\n";
}

}  // namespace

Table::Table(std::vector<std::string> columns) : columns_(std::move(columns)) {
  for (auto& column : columns_) {
    right_.push_back(column.starts_with('>'));
    shortened_.push_back(column.starts_with('~'));
    if (right_.back() || shortened_.back()) column.erase(0, 1);
  }
}

void Table::Row(std::vector<std::string> cells) {
  cells.resize(columns_.size());
  rows_.push_back(std::move(cells));
}

std::string Table::Text() const {
  return Text(std::numeric_limits<size_t>::max());
}

std::string Table::TextForOutput() const {
  return isatty(STDOUT_FILENO) == 1 ? Text(SizeOfTerminal().columns) : Text();
}

std::string Table::Text(size_t cells) const {
  std::vector<size_t> widths;
  for (const auto& column : columns_) widths.push_back(Width(column));
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], Width(row[i]));
  }
  Fit(widths, cells);
  std::string out;
  AddLine(out, columns_, widths, right_);
  for (const auto& row : rows_) AddLine(out, row, widths, right_);
  return out;
}

void Table::Fit(std::vector<size_t>& widths, size_t cells) const {
  constexpr size_t kShortest = 8;
  size_t total = 2 * (widths.size() - 1);  // the gaps
  for (const size_t width : widths) total += width;
  for (; total > cells; --total) {
    size_t* widest = nullptr;
    for (size_t i = 0; i < widths.size(); ++i) {
      const bool can = shortened_[i] && widths[i] > std::max(kShortest, Width(columns_[i]));
      if (can && (widest == nullptr || widths[i] > *widest)) widest = &widths[i];
    }
    if (widest == nullptr) return;
    --*widest;
  }
}

std::string HumanBytes(uint64_t bytes) {
  static constexpr std::array kUnits = {"B", "kB", "MB", "GB", "TB", "PB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 999.5 && unit + 1 < kUnits.size(); ++unit) value /= 1000;
  return fmt::format("{:.{}f} {}", value, unit == 0 || value >= 99.95 ? 0 : 1, kUnits[unit]);
}

std::string HumanCount(int64_t count) {
  std::string digits = std::to_string(count);
  const int first = count < 0 ? 1 : 0;
  for (int at = static_cast<int>(digits.size()) - 3; at > first; at -= 3)
    digits.insert(static_cast<size_t>(at), ",");
  return digits;
}

std::string HumanTime(double unix_seconds) {
  if (unix_seconds <= 0) return "-";
  const auto seconds = static_cast<time_t>(unix_seconds);
  tm parts{};
  localtime_r(&seconds, &parts);
  char text[32];
  strftime(text, sizeof text, "%Y-%m-%d %H:%M", &parts);
  return text;
}

std::string HumanSeconds(double seconds) {
  if (seconds < 60) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<int64_t>(seconds);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  if (whole < 86400) return fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
  return fmt::format("{} d {} h", whole / 86400, whole % 86400 / 3600);
}

}  // namespace penstock
