#include "model/files/json.h"

#include <boost/json/parse.hpp>
#include <cmath>
#include <exception>
#include <utility>

namespace penstock {

Result<JsonObject> JsonObject::Parse(std::string_view text, std::string_view origin) {
  try {
    boost::system::error_code error;
    auto value = boost::json::parse(boost::json::string_view(text.data(), text.size()), error);
    if (error)
      return Fail(Reason::kModelDamaged, "{}: not valid JSON ({}); download it again", origin,
                  error.message());
    if (!value.is_object())
      return Fail(Reason::kModelDamaged, "{}: not a JSON object; download it again", origin);
    return JsonObject(std::move(value.as_object()), std::string(origin));
  } catch (const std::exception& e) {
    return Fail(Reason::kModelDamaged, "{}: cannot read the JSON ({})", origin, e.what());
  }
}

const boost::json::value* JsonObject::Find(std::string_view key) const {
  const auto* value = object_.if_contains(boost::json::string_view(key.data(), key.size()));
  return value == nullptr || value->is_null() ? nullptr : value;
}

std::unexpected<Error> JsonObject::Wrong(std::string_view key, std::string_view wanted) const {
  return Fail(Reason::kModelDamaged, "{}: \"{}\" should be {}", origin_, key, wanted);
}

Result<std::optional<int64_t>> JsonObject::Int(std::string_view key, int64_t min, int64_t max) const {
  const auto* value = Find(key);
  if (value == nullptr) return std::nullopt;
  boost::system::error_code error;
  const auto number = value->to_number<int64_t>(error);
  if (error || number < min || number > max) {
    return Wrong(key, fmt::format("an integer between {} and {}", min, max));
  }
  return number;
}

Result<std::optional<double>> JsonObject::Real(std::string_view key) const {
  const auto* value = Find(key);
  if (value == nullptr) return std::nullopt;
  boost::system::error_code error;
  const auto number = value->to_number<double>(error);
  if (error || !std::isfinite(number)) return Wrong(key, "a finite number");
  return number;
}

Result<std::optional<bool>> JsonObject::Bool(std::string_view key) const {
  const auto* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_bool()) return Wrong(key, "true or false");
  return value->get_bool();
}

Result<std::optional<std::string>> JsonObject::String(std::string_view key) const {
  const auto* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) return Wrong(key, "a string");
  return std::string(value->get_string());
}

Result<std::optional<JsonObject>> JsonObject::Object(std::string_view key) const {
  const auto* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_object()) return Wrong(key, "an object");
  return JsonObject(value->get_object(), fmt::format("{}: \"{}\"", origin_, key));
}

}  // namespace penstock
