#include "app/common/json_get.h"

#include <algorithm>

namespace penstock {
namespace json = boost::json;

std::string GetText(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : "";
}

double GetReal(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  if (value == nullptr || !value->is_number()) return 0;
  boost::system::error_code ignored;
  const double number = value->to_number<double>(ignored);
  return ignored ? 0 : number;
}

int64_t GetInt(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  if (value != nullptr && value->is_int64()) return value->get_int64();
  constexpr double kSafe = 9e18;
  return static_cast<int64_t>(std::clamp(GetReal(object, key), -kSafe, kSafe));
}

bool GetBool(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  return value != nullptr && value->is_bool() && value->get_bool();
}

const json::object& GetObject(const json::object& object, std::string_view key) {
  static const json::object kNone;
  const auto* value = object.if_contains(key);
  return value != nullptr && value->is_object() ? value->get_object() : kNone;
}

const json::array& GetArray(const json::object& object, std::string_view key) {
  static const json::array kNone;
  const auto* value = object.if_contains(key);
  return value != nullptr && value->is_array() ? value->get_array() : kNone;
}

Result<json::object> ParseJsonObject(std::string_view text, std::string_view origin) {
  boost::system::error_code error;
  json::value value = json::parse(text, error);
  if (error || !value.is_object()) return Fail(Code::kCorrupt, "{}: not a JSON object", origin);
  return std::move(value.get_object());
}

namespace {

template <class Range, class Each>
void Nested(std::string& out, const Range& range, char open, char close, const std::string& indent,
            Each each) {
  if (range.empty()) {
    out += {open, close};
    return;
  }
  const std::string inner = indent + "  ";
  out += open;
  bool first = true;
  for (const auto& item : range) {
    out += first ? "\n" : ",\n";
    first = false;
    out += inner;
    each(item, inner);
  }
  out += "\n" + indent + close;
}

void Print(std::string& out, const json::value& value, const std::string& indent) {
  if (value.is_object()) {
    Nested(out, value.get_object(), '{', '}', indent, [&](const auto& item, const std::string& inner) {
      out += json::serialize(json::value(item.key())) + ": ";
      Print(out, item.value(), inner);
    });
  } else if (value.is_array()) {
    Nested(out, value.get_array(), '[', ']', indent,
           [&](const auto& item, const std::string& inner) { Print(out, item, inner); });
  } else {
    out += json::serialize(value);
  }
}

}  // namespace

std::string PrettyJson(const json::value& value) {
  std::string out;
  Print(out, value, "");
  return out + "\n";
}

}  // namespace penstock
