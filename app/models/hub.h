// What a model hub reports about a file, without downloading it: the Hugging Face hub and its mirrors, and
// ModelScope, which has a different API.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "app/settings/config.h"
#include "base/result.h"

namespace penstock {

// Prints progress lines for the user: what is being tried, and why it failed.
using Say = std::function<void(const std::string&)>;

struct HubFile {
  std::string url, sha256, revision;
  uint64_t size = 0;
};

// Both wait if the hub asks for it (up to a minute, three times), and report that.
// Errors: kNotFound, kForbidden (an access token is required), kUnavailable.
Result<HubFile> AskHub(const PullOptions& options, std::string_view repository, std::string_view file,
                       const Say& say);
Result<HubFile> AskModelScope(const PullOptions& options, std::string_view repository, std::string_view file,
                              const Say& say);

// The headers with the hub's access token; only for requests to the hub.
std::vector<std::string> HubAuthorisation(const PullOptions& options);

}  // namespace penstock
