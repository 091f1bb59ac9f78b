// The state of a running cloud as text: pure functions of the answers to GET /admin/v1/status
// (gateway/admin/admin.h) and GET /v1/live (docs/api.md). So the output of `penstock status` and `penstock
// top` can be tested without a cloud or a terminal.
#pragma once

#include <boost/json.hpp>
#include <string>

namespace penstock {

// One screen: at most 24 lines for a cloud with one engine and a few models and teams. The busiest come
// first; the others are only counted. No line is wider than `columns`.
std::string StatusText(const boost::json::object& status, const std::string& url, size_t columns);

struct TopView {
  enum class Sort : unsigned char { kRate, kWaiting, kName };
  Sort sort = Sort::kRate;
  size_t rows = 24, columns = 80;
};
// From two snapshots of GET /v1/live: rates are differences between them. Requests are listed, the oldest
// first, as far as there is room. What the key may not see is "-". The text fits the view.
std::string TopText(const boost::json::object& before, const boost::json::object& now, const std::string& url,
                    const TopView& view);

// "[####......]": `part` of `whole`, as `width` characters between the brackets.
std::string Bar(double part, double whole, size_t width);

// The text with each line cut to `columns` characters, and no more than `rows` lines.
std::string Fit(const std::string& text, size_t rows, size_t columns);

}  // namespace penstock
