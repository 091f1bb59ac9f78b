// Reads JSON from untrusted files: every access is checked, and errors name the key that is wrong.
#pragma once

#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace penstock {

// An object of a JSON document; `origin` (a file) begins each message.
class JsonObject {
 public:
  // Errors: kCorrupt: not JSON, or not an object.
  static Result<JsonObject> Parse(std::string_view text, std::string_view origin);
  static JsonObject Of(boost::json::object object, std::string_view origin) {
    return {std::move(object), std::string(origin)};
  }

  const boost::json::object& raw() const { return object_; }
  const std::string& origin() const { return origin_; }
  // nullptr: no such key, or null.
  const boost::json::value* Find(std::string_view key) const;

  // nullopt: no such key, or null. Errors (kCorrupt, naming the key): another type, or out of range.
  Result<std::optional<int64_t>> Int(std::string_view key, int64_t min, int64_t max) const;
  Result<std::optional<double>> Real(std::string_view key) const;  // finite; integers are accepted
  Result<std::optional<bool>> Bool(std::string_view key) const;
  Result<std::optional<std::string>> String(std::string_view key) const;
  Result<std::optional<JsonObject>> Object(std::string_view key) const;

 private:
  JsonObject(boost::json::object object, std::string origin)
      : object_(std::move(object)), origin_(std::move(origin)) {}
  std::unexpected<Error> Wrong(std::string_view key, std::string_view wanted) const;

  boost::json::object object_;
  std::string origin_;
};

}  // namespace penstock
