// Inspection: a child process with limits on memory and time tries a model's vocabulary and template before
// the gateway opens them. A file that crashes the reader or makes it use too much memory only ends the child.
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
  std::string unserved;   // why the native runner does not support it; empty: it does
};

// Inspects in this process; the child does this. Errors name the file and the defect.
Result<ModelFacts> InspectHere(const std::string& path);

// Inspects in a child. Errors: those of InspectHere, and kCorrupt if the child died or took too long.
Result<ModelFacts> InspectInChild(const std::string& path);

// The child's command: prints the facts, or the error, as JSON. Returns the exit status.
int RunInspectCommand(const std::string& path);

boost::json::object FactsToJson(const ModelFacts& facts);
ModelFacts FactsFromJson(const boost::json::object& object);

}  // namespace penstock
