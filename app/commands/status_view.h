// The state of a running cloud as text: pure functions of what GET /admin/v1/status (gateway/admin/admin.h) and GET
// /v1/live (docs/api.md) answered, so that what `penstock status` and `penstock top` show can be tested
// without either.
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
// Two snapshots of GET /v1/live, and what happened between them: a rate is a difference. Requests are listed,
// the longest first, as far as there is room. What the seat is not told is "-". Fits the view.
std::string TopText(const boost::json::object& before, const boost::json::object& now, const std::string& url,
                    const TopView& view);

// "[####......]": `part` of `whole` in so many characters between the brackets.
std::string Bar(double part, double whole, size_t width);

// The text with each line cut to `columns` characters, and no more than `rows` lines.
std::string Fit(const std::string& text, size_t rows, size_t columns);

}  // namespace penstock
