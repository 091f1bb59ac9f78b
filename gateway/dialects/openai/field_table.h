// The fields of OpenAI's two generation endpoints, and of those that clients of other servers send beside
// them: what each does here. One row per field; docs/api.md shows the same table.
//
// The rule: a field that changes the answer is honoured or refused by name. Ignored are fields that do not
// change the answer, and those that clients send without being asked by their users (named in the response
// header x-penstock-ignored). A field that is not in the table is ignored and named.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "gateway/common/json_fields.h"

namespace penstock::gateway {

enum class Endpoint : uint8_t { kChat = 1, kCompletions = 2, kBoth = 3 };

struct FieldRow {
  enum class Treatment : uint8_t {
    kHonoured,  // a parser reads it
    kRefused,   // unless its value asks for nothing
    kNoEffect,  // it is about the request, not about the answer
    kIgnored,   // named in x-penstock-ignored
  };
  Endpoint where = Endpoint::kBoth;
  std::string_view name;
  Treatment treatment = Treatment::kHonoured;
  // kRefused: the values that ask for nothing, as JSON, separated by commas. Empty: null, false, 0, and empty
  // arrays, objects and strings.
  std::string_view harmless = {};
  std::string_view note = {};  // kHonoured: what it accepts. Otherwise: what to do instead
};
std::span<const FieldRow> FieldTable();

// Treats the fields that no parser has read, as the table says; the first refusal is the fault.
void ReadRest(Fields& fields, Endpoint endpoint);

}  // namespace penstock::gateway
