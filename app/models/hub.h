// What a model hub says of a file, without fetching it: the Hugging Face hub and its mirrors, and ModelScope,
// whose API is another.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "app/settings/config.h"
#include "base/result.h"

namespace penstock {

// Lines for people as something goes on: what is tried, and in a clear word why it failed.
using Say = std::function<void(const std::string&)>;

struct HubFile {
  std::string url, sha256, revision;
  uint64_t size = 0;
};

// Both wait where the hub asks for it (up to a minute, three times), and say so.
// Errors: kNotFound, kForbidden (it wants an access token), kUnavailable.
Result<HubFile> AskHub(const PullOptions& options, std::string_view repository, std::string_view file,
                       const Say& say);
Result<HubFile> AskModelScope(const PullOptions& options, std::string_view repository, std::string_view file,
                              const Say& say);

// The headers that carry the hub's access token: for the hub alone.
std::vector<std::string> HubAuthorisation(const PullOptions& options);

}  // namespace penstock
