#include "gateway/common/json_fields.h"

#include <cmath>

namespace penstock::gateway {
namespace {

constexpr size_t kMaxDepth = 64;
constexpr size_t kMaxListed = 32;  // of ignored names: they go into a header

}  // namespace

ApiResult<json::value> ParseJsonObject(std::string_view text, json::storage_ptr storage) {
  const auto malformed = [](std::string message) {
    return std::unexpected(ToApiError({Code::kInvalid, std::move(message), Reason::kBadJson}));
  };
  // A parser of its own, to learn how far it came.
  json::parser parser(storage, json::parse_options{.max_depth = kMaxDepth});
  boost::system::error_code ec;
  size_t at = 0;
  try {
    at = parser.write_some(text.data(), text.size(), ec);
    if (!ec && at < text.size()) ec = json::error::extra_data;
    if (ec) {
      return malformed(
          fmt::format("the body is not valid JSON: {} at byte {} of {}", ec.message(), at, text.size()));
    }
    json::value value = parser.release();
    if (!value.is_object()) {
      return malformed(fmt::format("the body must be a JSON object, not {}", KindOf(value)));
    }
    return value;
  } catch (const std::exception& e) {
    return malformed(fmt::format("the body cannot be read as JSON: {}", e.what()));
  }
}

std::string_view KindOf(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null:
      return "null";
    case json::kind::bool_:
      return "a boolean";
    case json::kind::int64:
    case json::kind::uint64:
      return "an integer";
    case json::kind::double_:
      return "a number";
    case json::kind::string:
      return "a string";
    case json::kind::array:
      return "an array";
    case json::kind::object:
      return "an object";
  }
  return "nothing";
}

Fields::Fields(const json::object& object, std::string prefix)
    : object_(object), prefix_(std::move(prefix)), known_(object.size()) {}

const json::value* Fields::Any(std::string_view name) {
  const auto* const found = object_.find(json::string_view(name.data(), name.size()));
  if (found == object_.end()) return nullptr;
  known_[found - object_.begin()] = true;
  return found->value().is_null() ? nullptr : &found->value();
}

std::optional<double> Fields::Number(std::string_view name, double low, double high) {
  const json::value* const value = Any(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) {
    WrongType(name, "a number", *value);
    return std::nullopt;
  }
  const auto number = value->to_number<double>();
  if (number < low || number > high) {
    Fault(name, fmt::format("'{}' is {}; it must be from {} to {}", Path(name), number, low, high));
    return std::nullopt;
  }
  return number;
}

std::optional<int64_t> Fields::Integer(std::string_view name, int64_t low, int64_t high) {
  const json::value* const value = Any(name);
  if (value == nullptr) return std::nullopt;
  const bool whole = value->is_double() && std::trunc(value->get_double()) == value->get_double();
  if (!value->is_int64() && !value->is_uint64() && !whole) {
    WrongType(name, "an integer", *value);
    return std::nullopt;
  }
  boost::system::error_code ec;
  const auto number = value->to_number<int64_t>(ec);
  if (ec || number < low || number > high) {
    Fault(name, fmt::format("'{}' is {}; it must be from {} to {}", Path(name), json::serialize(*value), low,
                            high));
    return std::nullopt;
  }
  return number;
}

std::optional<bool> Fields::Bool(std::string_view name) {
  const json::value* const value = Any(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_bool()) return value->get_bool();
  WrongType(name, "a boolean", *value);
  return std::nullopt;
}

std::optional<std::string_view> Fields::String(std::string_view name) {
  const json::value* const value = Any(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return std::string_view(value->get_string().data(), value->get_string().size());
  WrongType(name, "a string", *value);
  return std::nullopt;
}

const json::object* Fields::Object(std::string_view name) {
  const json::value* const value = Any(name);
  if (value == nullptr) return nullptr;
  if (value->is_object()) return &value->get_object();
  WrongType(name, "an object", *value);
  return nullptr;
}

const json::array* Fields::Array(std::string_view name) {
  const json::value* const value = Any(name);
  if (value == nullptr) return nullptr;
  if (value->is_array()) return &value->get_array();
  WrongType(name, "an array", *value);
  return nullptr;
}

void Fields::Ignore(std::string_view name) {
  if (Any(name) != nullptr) ignored_.push_back(Path(name));
}

void Fields::Fault(std::string_view name, std::string message) {
  Fault(InvalidField(Path(name), std::move(message)));
}

void Fields::Unsupported(std::string_view name, std::string message) {
  Fault(UnsupportedField(Path(name), std::move(message)));
}

void Fields::Fault(ApiError error) {
  if (!fault_) fault_ = std::move(error);
}

void Fields::WrongType(std::string_view name, std::string_view want, const json::value& got) {
  Fault(name, fmt::format("'{}' must be {}, not {}", Path(name), want, KindOf(got)));
}

std::vector<std::string> Fields::Unread() const {
  std::vector<std::string> names;
  size_t i = 0;
  for (const auto& member : object_) {
    if (!known_[i++]) names.emplace_back(member.key());
  }
  return names;
}

std::vector<std::string> Fields::Ignored() const {
  std::vector<std::string> names = ignored_;
  for (const std::string& name : Unread()) {
    if (names.size() < kMaxListed) names.push_back(Path(name));
  }
  return names;
}

}  // namespace penstock::gateway
