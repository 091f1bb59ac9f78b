// ServedModel: a model as the fleet serves it, and how the names of models and their variants relate.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace penstock {

// A model may have variants, which differ in file, precision or place and share one vocabulary: "qwen:q4" and
// "qwen:q8" are of the family "qwen". A request for the family gets the variant that is expected to cost
// least.
inline std::string_view FamilyOf(std::string_view model) {
  return model.substr(0, model.find(':'));
}
inline bool Answers(std::string_view served, std::string_view asked) {
  return served == asked || FamilyOf(served) == asked;
}

// `path` is on the engines' file system. 0: the engine chooses.
struct ServedModel {
  std::string name, path;
  uint64_t kv_bytes = 0;
  uint32_t context = 0;
};

}  // namespace penstock
