// The console: the page at "/" and the files it loads from "/console/", embedded in the program. They are
// the files of console/ at the root of the repository; they use the public HTTP API and nothing else.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "gateway/http/call.h"

namespace penstock::gateway {

struct ConsoleFile {
  std::string_view name;  // "index.html"
  std::string_view type;
  std::string_view etag;
  std::string_view bytes, gzip;
};
// By name. Made at build time: see cmake/embed.cmake.
std::span<const ConsoleFile> ConsoleFiles();

// GET / (the page to browsers, a few lines of text to others) and GET /console/{}.
std::vector<Route> ConsoleRoutes();

}  // namespace penstock::gateway
