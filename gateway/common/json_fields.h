// Fields: the members of one JSON object, read by name and type. The first fault is kept, with the name of
// the field at fault; members that were not read are listed at the end.
#pragma once

#include <boost/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/common/api_error.h"

namespace penstock::gateway {

namespace json = boost::json;

// Parses one JSON text (RFC 8259) whose top is an object. Errors: 400, naming the byte where it went wrong.
ApiResult<json::value> ParseJsonObject(std::string_view text, json::storage_ptr storage = {});

// "an object", "a string", …: for error messages.
std::string_view KindOf(const json::value& value);

class Fields {
 public:
  // `prefix` is put before names in errors: "messages[2]." REQUIRES: `object` outlives this.
  explicit Fields(const json::object& object, std::string prefix = {});

  // Each marks the member as known. Null counts as absent. A wrong type or range is the fault.
  std::optional<double> Number(std::string_view name, double low, double high);
  std::optional<int64_t> Integer(std::string_view name, int64_t low, int64_t high);
  std::optional<bool> Bool(std::string_view name);
  std::optional<std::string_view> String(std::string_view name);
  const json::object* Object(std::string_view name);
  const json::array* Array(std::string_view name);
  const json::value* Any(std::string_view name);  // nullptr when absent or null

  // Known and without effect: not listed as ignored.
  void Skip(std::string_view name) { Any(name); }
  // Known, without effect, and worth telling: listed as ignored when present.
  void Ignore(std::string_view name);

  void Fault(std::string_view name, std::string message);
  void Unsupported(std::string_view name, std::string message);
  void Fault(ApiError error);
  const std::optional<ApiError>& fault() const { return fault_; }

  // Names of members that were never asked for.
  std::vector<std::string> Unread() const;
  // Those, with their paths, and the members under Ignore; a limited number.
  std::vector<std::string> Ignored() const;

 private:
  std::string Path(std::string_view name) const { return prefix_ + std::string(name); }
  void WrongType(std::string_view name, std::string_view want, const json::value& got);

  const json::object& object_;
  std::string prefix_;
  std::vector<bool> known_;
  std::vector<std::string> ignored_;
  std::optional<ApiError> fault_;
};

}  // namespace penstock::gateway
