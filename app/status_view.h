// The state of a running cloud as text: pure functions of what GET /admin/v1/status answered
// (gateway/admin.h), so that what `penstock status` and `penstock top` show can be tested without either.
#pragma once

#include <boost/json.hpp>
#include <string>

namespace penstock {

// One screen: at most 24 lines for a cloud of one engine, a few models and teams; the busiest come first and
// the rest is counted. No line is wider than `columns`.
std::string StatusText(const boost::json::object& status, const std::string& url, size_t columns);

struct TopView {
  enum class Sort : unsigned char { kRate, kWaiting, kName };
  Sort sort = Sort::kRate;
  size_t rows = 24, columns = 80;
};
// What happened between two answers that are `seconds` apart: rates are differences. `live` is what GET
// /v1/live answered: its requests are listed, the longest first, as far as there is room. Fits the view.
std::string TopText(const boost::json::object& before, const boost::json::object& now, double seconds,
                    const boost::json::object& live, const std::string& url, const TopView& view);

// "[####......]": `part` of `whole` in so many characters between the brackets.
std::string Bar(double part, double whole, size_t width);

// The text with each line cut to `columns` characters, and no more than `rows` lines.
std::string Fit(const std::string& text, size_t rows, size_t columns);

}  // namespace penstock
