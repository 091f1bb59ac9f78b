// Inspection: a model's vocabulary and template are tried in a child with limits of memory and time,
// before the gateway ever opens them. A file that crashes or bloats the reader takes the child down.
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <string>

#include "base/result.h"

namespace penstock {

struct ModelFacts {
  std::string name;  // as the file states it
  std::string architecture, quantisation, licence;
  int64_t parameters = 0, bytes = 0, context = 0, vocabulary = 0;
  bool chat = false;      // it has a chat template
  std::string tokenizer;  // the library that reads its vocabulary
  std::string unserved;   // why the native runner does not compute it; empty: it does
};

// In this process: the child's work. Errors name the file and the defect.
Result<ModelFacts> InspectHere(const std::string& path);

// In a child. Errors: InspectHere's, and kCorrupt if the child died or took too long.
Result<ModelFacts> InspectInChild(const std::string& path);

// The child itself: prints the facts, or the error, as JSON. Returns the exit status.
int RunInspectCommand(const std::string& path);

boost::json::object FactsToJson(const ModelFacts& facts);
ModelFacts FactsFromJson(const boost::json::object& object);

}  // namespace penstock
