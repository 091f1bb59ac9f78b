// Reads JSON that this program or the gateway wrote: a missing or wrong field is empty, zero or false.
#pragma once

#include <boost/json.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace penstock {

std::string GetText(const boost::json::object& object, std::string_view key);
int64_t GetInt(const boost::json::object& object, std::string_view key);
double GetReal(const boost::json::object& object, std::string_view key);
bool GetBool(const boost::json::object& object, std::string_view key);
const boost::json::object& GetObject(const boost::json::object& object, std::string_view key);
const boost::json::array& GetArray(const boost::json::object& object, std::string_view key);

// Errors: kCorrupt, naming `origin`.
Result<boost::json::object> ParseJsonObject(std::string_view text, std::string_view origin);

// Indented, with a final newline.
std::string PrettyJson(const boost::json::value& value);

}  // namespace penstock
