// A text table: aligned columns, numbers to the right, the header in capitals. On a narrow terminal, names
// are shortened, the longest first; figures, keys and reasons are never shortened.
#pragma once

#include <string>
#include <vector>

namespace penstock {

class Table {
 public:
  // A column whose name begins with '>' is aligned to the right; '~': its cells may be shortened.
  explicit Table(std::vector<std::string> columns);
  void Row(std::vector<std::string> cells);
  std::string Text() const;  // ends with a newline; only the header if there is no row
  // The same with '~' columns shortened ("resea…") until each line has at most `cells` terminal cells. A line
  // is still longer where shortening to the column's title, or to 8 cells, is not enough.
  std::string Text(size_t cells) const;
  // Text(width of the terminal) if standard output is a terminal, else Text().
  std::string TextForOutput() const;
  bool empty() const { return rows_.empty(); }
  size_t size() const { return rows_.size(); }

 private:
  void Fit(std::vector<size_t>& widths, size_t cells) const;

  std::vector<std::string> columns_;
  std::vector<bool> right_, shortened_;
  std::vector<std::vector<std::string>> rows_;
};

std::string HumanBytes(uint64_t bytes);      // "98.4 MB"
std::string HumanCount(int64_t count);       // "1,234,567"
std::string HumanTime(double unix_seconds);  // "2026-03-01 14:05" local time; "-" for 0
std::string HumanSeconds(double seconds);    // "12.3 s", "3 min 4 s"

}  // namespace penstock
